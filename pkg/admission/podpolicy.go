package admission

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"

	"github.com/sublet-dev/sublet/pkg/policy"
)

// addPodChecks adds the checks of pods, and of objects that controllers make pods from.
func addPodChecks(checks map[schema.GroupResource]PolicyCheck, pods *policy.Pods) {
	checks[corev1.Resource("pods")] = checkPods(pods)
	checks[corev1.Resource("podtemplates")] = checkTemplates(pods, func(o *corev1.PodTemplate) *corev1.PodTemplateSpec { return &o.Template })
	checks[corev1.Resource("replicationcontrollers")] = checkTemplates(pods, func(o *corev1.ReplicationController) *corev1.PodTemplateSpec { return o.Spec.Template })
	checks[appsv1.Resource("deployments")] = checkTemplates(pods, func(o *appsv1.Deployment) *corev1.PodTemplateSpec { return &o.Spec.Template })
	checks[appsv1.Resource("replicasets")] = checkTemplates(pods, func(o *appsv1.ReplicaSet) *corev1.PodTemplateSpec { return &o.Spec.Template })
	checks[appsv1.Resource("statefulsets")] = checkTemplates(pods, func(o *appsv1.StatefulSet) *corev1.PodTemplateSpec { return &o.Spec.Template })
	checks[appsv1.Resource("daemonsets")] = checkTemplates(pods, func(o *appsv1.DaemonSet) *corev1.PodTemplateSpec { return &o.Spec.Template })
	checks[batchv1.Resource("jobs")] = checkTemplates(pods, func(o *batchv1.Job) *corev1.PodTemplateSpec { return &o.Spec.Template })
	checks[batchv1.Resource("cronjobs")] = checkTemplates(pods, func(o *batchv1.CronJob) *corev1.PodTemplateSpec { return &o.Spec.JobTemplate.Spec.Template })
}

// checkPods returns the check of pods: what they ask for, and how long a delete may take.
func checkPods(pods *policy.Pods) PolicyCheck {
	return func(_ context.Context, a admission.Attributes, o admission.ObjectInterfaces) (Judgement, error) {
		switch a.GetSubresource() {
		case "", "ephemeralcontainers", "resize":
		case "eviction":
			return checkEviction(pods, a, o)
		default:
			return Judgement{}, nil
		}
		if a.GetOperation() == admission.Delete {
			return checkDelete(pods, a), nil
		}
		after, err := toV1[corev1.Pod](a.GetObject(), o)
		if err != nil {
			return Judgement{}, err
		}
		violations := pods.Judge(&after.ObjectMeta, &after.Spec)
		if a.GetOperation() == admission.Create || len(violations) == 0 {
			return Judgement{Violations: violations}, nil
		}
		before, err := toV1[corev1.Pod](a.GetOldObject(), o)
		if err != nil {
			return Judgement{}, err
		}
		return Judgement{Violations: pods.JudgeUpdate(before, after)}, nil
	}
}

// checkDelete judges the grace period of a delete.
func checkDelete(pods *policy.Pods, a admission.Attributes) Judgement {
	options, ok := a.GetOperationOptions().(*metav1.DeleteOptions)
	if !ok || options == nil {
		return Judgement{}
	}
	return Judgement{Violations: pods.JudgeDelete(options.GracePeriodSeconds)}
}

// checkEviction judges the grace period of an eviction, which the API server applies to the
// delete that it leads to.
func checkEviction(pods *policy.Pods, a admission.Attributes, o admission.ObjectInterfaces) (Judgement, error) {
	if a.GetOperation() != admission.Create {
		return Judgement{}, nil
	}
	eviction, err := toV1[policyv1.Eviction](a.GetObject(), o)
	if err != nil || eviction.DeleteOptions == nil {
		return Judgement{}, err
	}
	return Judgement{Violations: pods.JudgeDelete(eviction.DeleteOptions.GracePeriodSeconds)}, nil
}

// checkTemplates returns the check of objects from which a controller makes pods. It warns:
// the pods are denied, as upstream does it.
func checkTemplates[T any, P object[T]](pods *policy.Pods, template func(P) *corev1.PodTemplateSpec) PolicyCheck {
	return func(_ context.Context, a admission.Attributes, o admission.ObjectInterfaces) (Judgement, error) {
		if a.GetSubresource() != "" || a.GetOperation() == admission.Delete {
			return Judgement{}, nil
		}
		typed, err := toV1[T, P](a.GetObject(), o)
		if err != nil {
			return Judgement{}, err
		}
		spec := template(typed)
		if spec == nil {
			return Judgement{}, nil
		}
		violations := pods.Judge(&spec.ObjectMeta, &spec.Spec)
		if len(violations) == 0 {
			return Judgement{}, nil
		}
		return Judgement{Warnings: []string{"pods of this template will be denied: " + policy.Message(violations)}}, nil
	}
}
