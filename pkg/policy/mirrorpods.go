package policy

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// mirrorPods returns the violation of a pod that claims to mirror a pod of a kubelet. The
// host never runs it, so its status would remain what the tenant writes.
func mirrorPods(metadata *metav1.ObjectMeta, _ *corev1.PodSpec) []Violation {
	value, found := metadata.Annotations[corev1.MirrorPodAnnotationKey]
	if !found {
		return nil
	}
	return []Violation{{
		Field: "metadata.annotations[" + corev1.MirrorPodAnnotationKey + "]", Value: value,
		Detail: "not allowed, because mirror pods belong to kubelets, and those of this cluster are the host's",
	}}
}
