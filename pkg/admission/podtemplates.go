package admission

import (
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
)

// readTemplate returns the template of pods that a request writes, nil if it writes none.
type readTemplate func(a admission.Attributes, o admission.ObjectInterfaces) (*corev1.PodTemplateSpec, error)

// podTemplates returns for every built-in resource with a template of pods how to read it.
func podTemplates() map[schema.GroupResource]readTemplate {
	return map[schema.GroupResource]readTemplate{
		corev1.Resource("podtemplates"):           templateOf(func(o *corev1.PodTemplate) *corev1.PodTemplateSpec { return &o.Template }),
		corev1.Resource("replicationcontrollers"): templateOf(func(o *corev1.ReplicationController) *corev1.PodTemplateSpec { return o.Spec.Template }),
		appsv1.Resource("deployments"):            templateOf(func(o *appsv1.Deployment) *corev1.PodTemplateSpec { return &o.Spec.Template }),
		appsv1.Resource("replicasets"):            templateOf(func(o *appsv1.ReplicaSet) *corev1.PodTemplateSpec { return &o.Spec.Template }),
		appsv1.Resource("statefulsets"):           templateOf(func(o *appsv1.StatefulSet) *corev1.PodTemplateSpec { return &o.Spec.Template }),
		appsv1.Resource("daemonsets"):             templateOf(func(o *appsv1.DaemonSet) *corev1.PodTemplateSpec { return &o.Spec.Template }),
		batchv1.Resource("jobs"):                  templateOf(func(o *batchv1.Job) *corev1.PodTemplateSpec { return &o.Spec.Template }),
		batchv1.Resource("cronjobs"):              templateOf(func(o *batchv1.CronJob) *corev1.PodTemplateSpec { return &o.Spec.JobTemplate.Spec.Template }),
	}
}

// templateOf returns how to read the template of one type.
func templateOf[T any, P object[T]](template func(P) *corev1.PodTemplateSpec) readTemplate {
	return func(a admission.Attributes, o admission.ObjectInterfaces) (*corev1.PodTemplateSpec, error) {
		written, _, err := writtenObject[T, P](a, o)
		if err != nil || written == nil {
			return nil, err
		}
		return template(written), nil
	}
}
