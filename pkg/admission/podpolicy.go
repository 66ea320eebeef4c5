package admission

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"

	"github.com/sublet-dev/sublet/pkg/policy"
)

// addPodChecks adds the checks of pods, and of objects that controllers make pods from.
func addPodChecks(checks Checks, pods *policy.Pods) {
	checks.Add(corev1.Resource("pods"), checkPods(pods))
	for resource, template := range podTemplates() {
		checks.Add(resource, checkTemplate(pods, template))
	}
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

// checkTemplate returns the check of objects from which a controller makes pods. It warns:
// the pods are denied, as upstream does it.
func checkTemplate(pods *policy.Pods, template readTemplate) PolicyCheck {
	return func(_ context.Context, a admission.Attributes, o admission.ObjectInterfaces) (Judgement, error) {
		written, err := template(a, o)
		if err != nil || written == nil {
			return Judgement{}, err
		}
		return warn("pods of this template will be denied: ", pods.Judge(&written.ObjectMeta, &written.Spec)), nil
	}
}
