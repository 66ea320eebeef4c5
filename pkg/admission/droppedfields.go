package admission

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/policy"
)

// addDroppedFieldChecks adds a warning of fields of pods that have no effect, in addition to
// the checks that a resource has. Controllers create ReplicaSets, which are left out.
func addDroppedFieldChecks(checks map[schema.GroupResource]PolicyCheck, settings *v1alpha1.Config) {
	for resource, check := range map[schema.GroupResource]PolicyCheck{
		corev1.Resource("pods"):         warnOfDropped(settings, func(o *corev1.Pod) *corev1.PodSpec { return &o.Spec }),
		appsv1.Resource("deployments"):  warnOfDropped(settings, func(o *appsv1.Deployment) *corev1.PodSpec { return &o.Spec.Template.Spec }),
		appsv1.Resource("statefulsets"): warnOfDropped(settings, func(o *appsv1.StatefulSet) *corev1.PodSpec { return &o.Spec.Template.Spec }),
		appsv1.Resource("daemonsets"):   warnOfDropped(settings, func(o *appsv1.DaemonSet) *corev1.PodSpec { return &o.Spec.Template.Spec }),
		batchv1.Resource("jobs"):        warnOfDropped(settings, func(o *batchv1.Job) *corev1.PodSpec { return &o.Spec.Template.Spec }),
		batchv1.Resource("cronjobs"):    warnOfDropped(settings, func(o *batchv1.CronJob) *corev1.PodSpec { return &o.Spec.JobTemplate.Spec.Template.Spec }),
	} {
		checks[resource] = also(checks[resource], check)
	}
}

// warnOfDropped returns a check that warns whoever creates pods with fields that have no
// effect.
func warnOfDropped[T any, P object[T]](settings *v1alpha1.Config, spec func(P) *corev1.PodSpec) PolicyCheck {
	return func(_ context.Context, a admission.Attributes, o admission.ObjectInterfaces) (Judgement, error) {
		if a.GetOperation() != admission.Create || a.GetSubresource() != "" {
			return Judgement{}, nil
		}
		typed, err := toV1[T, P](a.GetObject(), o)
		if err != nil {
			return Judgement{}, err
		}
		if text := policy.Message(policy.DroppedFields(settings, spec(typed))); text != "" {
			return Judgement{Warnings: []string{text}}, nil
		}
		return Judgement{}, nil
	}
}
