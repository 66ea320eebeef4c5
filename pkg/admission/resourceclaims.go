package admission

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/policy"
)

// claimChecks evaluate what a tenant asks of devices of the host.
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

// ListDeviceClasses returns all device classes of the host.
type ListDeviceClasses func(ctx context.Context) ([]resourcev1.DeviceClass, error)

// AddDeviceChecks adds the checks of extended resources for which the host takes devices of a class.
// A pod may ask for those of classes that are shown.
func AddDeviceChecks(checks Checks, settings *v1alpha1.Config, list ListDeviceClasses) {
	if !settings.Sync.IsEnabled(policy.DeviceClassesSetting) {
		return
	}
	c := deviceChecks{settings.Sync.SelectorOf(policy.DeviceClassesSetting), list}
	checks.Add(corev1.Resource("pods"), c.checkPod)
	for resource, template := range podTemplates() {
		checks.Add(resource, c.checkTemplate(template))
	}
}

// deviceChecks evaluate the extended resources of pods.
type deviceChecks struct {
	shown metav1.LabelSelector
	list  ListDeviceClasses
}

// checkPod evaluates new pods. Their extended resources never change.
func (c deviceChecks) checkPod(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) (Decision, error) {
	if a.GetOperation() != admission.Create || a.GetSubresource() != "" {
		return Decision{}, nil
	}
	pod, err := toV1[corev1.Pod](a.GetObject(), o)
	if err != nil {
		return Decision{}, err
	}
	violations, err := c.listHidden(ctx, &pod.Spec)
	if err != nil {
		return Decision{}, unknownHost(a, err)
	}
	return Decision{Violations: violations}, nil
}

// checkTemplate returns the check of objects from which a controller makes pods.
func (c deviceChecks) checkTemplate(template readTemplate) PolicyCheck {
	return func(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) (Decision, error) {
		written, err := template(a, o)
		if err != nil || written == nil {
			return Decision{}, err
		}
		violations, err := c.listHidden(ctx, &written.Spec)
		if err != nil {
			return Decision{}, nil //nolint:nilerr // It is known when the pods come.
		}
		return warn(deniedTemplate, violations), nil
	}
}

// listHidden returns the resources of a pod that stand for devices of classes that are not shown.
func (c deviceChecks) listHidden(ctx context.Context, spec *corev1.PodSpec) ([]policy.Violation, error) {
	if !policy.HasExtendedResources(spec) {
		return nil, nil
	}
	classes, err := c.list(ctx)
	if err != nil {
		return nil, err
	}
	return policy.NewDeviceResources(classes, c.shown).Evaluate(spec), nil
}

// checkClaim evaluates new claims. The spec of one never changes.
func (c claimChecks) checkClaim(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) (Decision, error) {
	if a.GetOperation() != admission.Create || a.GetSubresource() != "" {
		return Decision{}, nil
	}
	claim, err := toV1[resourcev1.ResourceClaim](a.GetObject(), o)
	if err != nil {
		return Decision{}, err
	}
	return c.checkSpec(ctx, a, "spec", &claim.Spec)
}

// checkTemplate evaluates new templates, so that the tenant is told when writing one. The spec of
// one never changes either.
func (c claimChecks) checkTemplate(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) (Decision, error) {
	if a.GetOperation() != admission.Create {
		return Decision{}, nil
	}
	template, err := toV1[resourcev1.ResourceClaimTemplate](a.GetObject(), o)
	if err != nil {
		return Decision{}, err
	}
	return c.checkSpec(ctx, a, "spec.spec", &template.Spec.Spec)
}

// checkSpec evaluates the spec of a claim at a path.
func (c claimChecks) checkSpec(ctx context.Context, a admission.Attributes, path string, spec *resourcev1.ResourceClaimSpec) (Decision, error) {
	violations, err := c.rules.Check(path, spec, func(class string) (bool, error) { return c.shows(ctx, class) })
	if err != nil {
		return Decision{}, unknownHost(a, err)
	}
	return Decision{Violations: violations}, nil
}
