package admission

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/admission"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/policy"
)

// addDroppedFieldChecks adds a warning of fields of pods that have no effect. Controllers
// create ReplicaSets, which are left out.
func addDroppedFieldChecks(checks Checks, settings *v1alpha1.Config) {
	readers := podTemplates()
	delete(readers, appsv1.Resource("replicasets"))
	readers[corev1.Resource("pods")] = templateOf(func(o *corev1.Pod) *corev1.PodTemplateSpec {
		return &corev1.PodTemplateSpec{ObjectMeta: o.ObjectMeta, Spec: o.Spec}
	})
	for resource, template := range readers {
		checks.Add(resource, warnOfDropped(settings, template))
	}
}

// warnOfDropped returns a check that warns whoever creates pods with fields that have no
// effect.
func warnOfDropped(settings *v1alpha1.Config, template readTemplate) PolicyCheck {
	return func(_ context.Context, a admission.Attributes, o admission.ObjectInterfaces) (Decision, error) {
		if a.GetOperation() != admission.Create {
			return Decision{}, nil
		}
		written, err := template(a, o)
		if err != nil || written == nil {
			return Decision{}, err
		}
		return warn("", policy.DroppedFields(settings, &written.Spec)), nil
	}
}
