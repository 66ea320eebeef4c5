package policy

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/api/equality"
)

// WithoutClass returns the pod without what a runtime class of the host gives it: the name of
// the class and its tolerations. The operator shows the class, so no rule judges either of
// them. It returns the pod itself if it has another class, or if class is nil.
func WithoutClass(pod *corev1.Pod, class *nodev1.RuntimeClass) *corev1.Pod {
	if class == nil || pod.Spec.RuntimeClassName == nil || *pod.Spec.RuntimeClassName != class.Name {
		return pod
	}
	without := *pod
	without.Spec.RuntimeClassName = nil
	if class.Scheduling != nil {
		without.Spec.Tolerations = slices.DeleteFunc(slices.Clone(pod.Spec.Tolerations), func(t corev1.Toleration) bool {
			return slices.ContainsFunc(class.Scheduling.Tolerations, func(given corev1.Toleration) bool {
				return equality.Semantic.DeepEqual(t, given)
			})
		})
	}
	return &without
}
