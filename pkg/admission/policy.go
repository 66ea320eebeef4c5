package admission

import (
	"context"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/warning"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/policy"
)

// Decision is the result of the policies for one request.
type Decision struct {
	// Violations are the fields that are not allowed. Any denies the request.
	Violations []policy.Violation
	// Warnings are for the tenant, without effect on the request.
	Warnings []string
}

// PolicyCheck evaluates one request about a resource and its subresources. The object is
// final: every mutating plugin has run.
type PolicyCheck func(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) (Decision, error)

// PolicyOptions configure [Policy].
type PolicyOptions struct {
	// IsSyncer reports whether a request comes from the syncer, which is exempt from policies. It
	// must not depend on a user name, which a tenant can impersonate. Controllers of the process
	// are not exempt, because they act for the tenant. Default: no request does.
	IsSyncer func(ctx context.Context) bool
	// Sent returns what the syncer has sent, if the tenant has altered it. The alterations are not exempt.
	// Default: nothing is altered.
	Sent SentObject
	// Checks are the checks of requests. Default: none.
	Checks Checks
}

// Checks maps a resource -> the check of requests about it.
type Checks map[schema.GroupResource]PolicyCheck

// Add adds a check of a resource to those that it has. An error of one ends the request.
func (c Checks) Add(resource schema.GroupResource, check PolicyCheck) {
	first, found := c[resource]
	if !found {
		c[resource] = check
		return
	}
	c[resource] = func(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) (Decision, error) {
		decision, err := first(ctx, a, o)
		if err != nil {
			return decision, err
		}
		further, err := check(ctx, a, o)
		decision.Violations = slices.Concat(decision.Violations, further.Violations)
		decision.Warnings = slices.Concat(decision.Warnings, further.Warnings)
		return decision, err
	}
}

// PolicyChecks returns the checks for the settings.
func PolicyChecks(settings *v1alpha1.Config, host HostView) Checks {
	checks := Checks{}
	checks.Add(corev1.Resource("configmaps"), checkLimitsMirror)
	checks.Add(corev1.Resource("nodes"), checkNodeConnect)
	checks.Add(flowcontrolv1.Resource("prioritylevelconfigurations"), checkPriorityLevels)
	checks.Add(batchv1.Resource("cronjobs"), checkScheduleTime)
	addEndpointChecks(checks, settings, host)
	addPodChecks(checks, settings, host)
	addHostOwned(checks, settings, hostOwnedKinds())
	addVolumeChecks(checks, settings, host)
	addIngressChecks(checks, settings, host)
	checks.Add(networkingv1.Resource("networkpolicies"), checkNetworkPolicies(settings.Policies.NetworkPolicy.Workload))
	addEffectChecks(checks, settings)
	addDroppedFieldChecks(checks, settings)
	return checks
}

// policyPlugin is the plugin of [Policy].
type policyPlugin struct {
	*admission.Handler
	options PolicyOptions
}

// Policy returns the admission plugin that denies what the operator's policies do not
// allow. A denial names the field, its value, and the setting that decides.
func Policy(options PolicyOptions) admission.ValidationInterface {
	if options.IsSyncer == nil {
		options.IsSyncer = func(context.Context) bool { return false }
	}
	return &policyPlugin{
		Handler: admission.NewHandler(admission.Create, admission.Update, admission.Delete, admission.Connect),
		options: options,
	}
}

// Validate implements [admission.ValidationInterface].
func (p *policyPlugin) Validate(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	if p.options.IsSyncer(ctx) {
		sent := p.options.Sent.of(ctx)
		if sent == nil {
			return nil
		}
		a = alteredFrom(a, sent)
	}
	var decision Decision
	if check, found := p.options.Checks[a.GetResource().GroupResource()]; found {
		var err error
		if decision, err = check(ctx, a, o); err != nil {
			return err
		}
	}
	if len(decision.Violations) == 0 {
		decision.Violations = forgedMark(a)
	}
	for _, text := range decision.Warnings {
		warning.AddWarning(ctx, "", text)
	}
	if len(decision.Violations) > 0 {
		return deny(a, "%s", policy.Message(decision.Violations))
	}
	return nil
}
