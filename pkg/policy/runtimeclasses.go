package policy

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// WithoutClass returns the pod without what a runtime class of the host gives it: the name of
// the class and its tolerations. The operator shows the class, so no rule checks either of
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

// OwnClass returns the runtime class of the host for a runtime class of the tenant, by the
// handler of that. It is empty if the operator has no class for the handler.
//
// The second result is for [WithoutClass]: the operator allows the name alone. What else the
// tenant has written into the class is checked as if it were in the pod.
func OwnClass(handlers map[string]string, class *nodev1.RuntimeClass) (host string, allowed *nodev1.RuntimeClass) {
	host, ok := handlers[class.Handler]
	if !ok {
		return "", nil
	}
	return host, &nodev1.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: class.Name}, Handler: class.Handler}
}
