package admission

import (
	"context"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apiserver/pkg/admission"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/policy"
)

// claimChecks judge what a tenant asks of devices of the host.
type claimChecks struct {
	rules policy.Devices
	shows ShowsDeviceClass
}

// ShowsDeviceClass reports whether a device class is one of the host that the tenant sees.
type ShowsDeviceClass func(ctx context.Context, name string) (bool, error)

// AddClaimChecks adds the checks of ResourceClaims and of their templates.
func AddClaimChecks(checks Checks, settings *v1alpha1.Config, shows ShowsDeviceClass) {
	if !settings.Sync.IsEnabled(policy.ResourceClaimsSetting) {
		return
	}
	c := claimChecks{policy.NewDevices(settings.Policies.Devices), shows}
	checks.Add(resourcev1.Resource("resourceclaims"), c.checkClaim)
	checks.Add(resourcev1.Resource("resourceclaimtemplates"), c.checkTemplate)
}

// checkClaim judges new claims. The spec of one never changes.
func (c claimChecks) checkClaim(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) (Judgement, error) {
	if a.GetOperation() != admission.Create || a.GetSubresource() != "" {
		return Judgement{}, nil
	}
	claim, err := toV1[resourcev1.ResourceClaim](a.GetObject(), o)
	if err != nil {
		return Judgement{}, err
	}
	return c.checkSpec(ctx, a, "spec", &claim.Spec)
}

// checkTemplate judges new templates, so that the tenant is told when writing one. The spec of
// one never changes either.
func (c claimChecks) checkTemplate(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) (Judgement, error) {
	if a.GetOperation() != admission.Create {
		return Judgement{}, nil
	}
	template, err := toV1[resourcev1.ResourceClaimTemplate](a.GetObject(), o)
	if err != nil {
		return Judgement{}, err
	}
	return c.checkSpec(ctx, a, "spec.spec", &template.Spec.Spec)
}

// checkSpec judges the spec of a claim at a path.
func (c claimChecks) checkSpec(ctx context.Context, a admission.Attributes, path string, spec *resourcev1.ResourceClaimSpec) (Judgement, error) {
	violations, err := c.rules.Check(path, spec, func(class string) (bool, error) { return c.shows(ctx, class) })
	if err != nil {
		return Judgement{}, unknownHost(a, err)
	}
	return Judgement{Violations: violations}, nil
}
