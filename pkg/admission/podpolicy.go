package admission

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/policy"
)

// addPodChecks adds the checks of pods, and of objects with pod templates.
func addPodChecks(checks Checks, settings *v1alpha1.Config, host HostView) {
	c := podCheck{
		rules: policy.NewPods(settings.Policies, policy.PodOptionsOf(settings)), host: host,
		asksForClasses: settings.Sync.IsEnabled("sync.fromHost.runtimeClasses") || len(settings.Policies.Pods.RuntimeHandlers) > 0,
	}
	checks.Add(corev1.Resource("pods"), c.checkPods)
	for resource, template := range podTemplates() {
		checks.Add(resource, c.checkTemplate(template))
	}
}

// podCheck evaluates pods.
type podCheck struct {
	rules *policy.Pods
	host  HostView
	// asksForClasses reports whether pods may name runtime classes that the virtual cluster has.
	asksForClasses bool
}

// checkPods evaluates pods, and the grace period of deletes.
func (c podCheck) checkPods(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) (Decision, error) {
	switch a.GetSubresource() {
	case "", "ephemeralcontainers", "resize":
	case "eviction":
		return checkEviction(c.rules, a, o)
	default:
		if !changesMetadataOfStatus(a) {
			return Decision{}, nil
		}
	}
	if a.GetOperation() == admission.Delete {
		return checkDelete(c.rules, a), nil
	}
	after, err := toV1[corev1.Pod](a.GetObject(), o)
	if err != nil {
		return Decision{}, err
	}
	class, err := c.runtimeClass(ctx, after.Spec.RuntimeClassName)
	if err != nil && a.GetOperation() == admission.Create {
		return Decision{}, unknownHost(a, err)
	}
	after = policy.WithoutClass(after, class)
	violations := c.rules.Evaluate(&after.ObjectMeta, &after.Spec)
	if a.GetOperation() == admission.Create || len(violations) == 0 {
		return Decision{Violations: violations}, nil
	}
	before, err := toV1[corev1.Pod](a.GetOldObject(), o)
	if err != nil {
		return Decision{}, err
	}
	return Decision{Violations: c.rules.EvaluateUpdate(policy.WithoutClass(before, class), after)}, nil
}

// runtimeClass returns the runtime class that a pod names, nil if it may not.
func (c podCheck) runtimeClass(ctx context.Context, name *string) (*nodev1.RuntimeClass, error) {
	if !c.asksForClasses || name == nil || *name == "" {
		return nil, nil //nolint:nilnil // Most pods name none.
	}
	return c.host.RuntimeClass(ctx, *name)
}

// checkDelete evaluates the grace period of a delete.
func checkDelete(pods *policy.Pods, a admission.Attributes) Decision {
	options, ok := a.GetOperationOptions().(*metav1.DeleteOptions)
	if !ok || options == nil {
		return Decision{}
	}
	return Decision{Violations: pods.EvaluateDelete(options.GracePeriodSeconds)}
}

// checkEviction evaluates the grace period of an eviction, which the API server applies to the
// delete that it leads to.
func checkEviction(pods *policy.Pods, a admission.Attributes, o admission.ObjectInterfaces) (Decision, error) {
	if a.GetOperation() != admission.Create {
		return Decision{}, nil
	}
	eviction, err := toV1[policyv1.Eviction](a.GetObject(), o)
	if err != nil || eviction.DeleteOptions == nil {
		return Decision{}, err
	}
	return Decision{Violations: pods.EvaluateDelete(eviction.DeleteOptions.GracePeriodSeconds)}, nil
}

// deniedTemplate begins the warning of a template whose pods are denied.
const deniedTemplate = "pods of this template will be denied: "

// checkTemplate returns the check of objects with a pod template. As in upstream's pod security admission,
// it only warns. The pods themselves are denied.
func (c podCheck) checkTemplate(template readTemplate) PolicyCheck {
	return func(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) (Decision, error) {
		written, err := template(a, o)
		if err != nil || written == nil {
			return Decision{}, err
		}
		class, err := c.runtimeClass(ctx, written.Spec.RuntimeClassName)
		if err != nil {
			return Decision{}, nil //nolint:nilerr // It is known when the pods come.
		}
		pod := policy.WithoutClass(&corev1.Pod{ObjectMeta: written.ObjectMeta, Spec: written.Spec}, class)
		return warn(deniedTemplate, c.rules.Evaluate(&pod.ObjectMeta, &pod.Spec)), nil
	}
}
