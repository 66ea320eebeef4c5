package translate

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/api/labels"
)

// Annotations of pods that the cluster-autoscaler of a host reads.
const (
	safeToEvict             = "cluster-autoscaler.kubernetes.io/safe-to-evict"
	safeToEvictLocalVolumes = "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes"
)

// autoscalerAnnotations returns the annotation by which the cluster-autoscaler of the host learns about the
// controller of a virtual pod. It knows the kinds of Kubernetes alone, and the controller of a host
// pod is the anchor. Without it, it keeps each node on which a tenant has a pod.
//
// An annotation of the tenant that passes wins, and so does one that others have set on the host.
func autoscalerAnnotations(virtual, host *corev1.Pod, passes func(key string) bool) map[string]string {
	if metav1.GetControllerOfNoCopy(virtual) == nil {
		return nil // Nothing creates it again.
	}
	if hasBlockingVolumes(virtual, passes) {
		return nil // The annotation would also tell that its local volumes hold nothing to keep.
	}
	if _, ok := virtual.Annotations[safeToEvict]; ok && passes(safeToEvict) {
		return nil
	}
	if _, ok := host.Annotations[safeToEvict]; ok && !slices.Contains(strings.Split(host.Annotations[labels.CopiedAnnotations], ","), safeToEvict) {
		return nil
	}
	return map[string]string{safeToEvict: "true"}
}

// hasBlockingVolumes reports whether a cluster-autoscaler would keep the node of a pod for its local
// volumes. The tenant can name those that hold nothing to keep.
func hasBlockingVolumes(virtual *corev1.Pod, passes func(key string) bool) bool {
	var named []string
	if passes(safeToEvictLocalVolumes) {
		named = strings.Split(virtual.Annotations[safeToEvictLocalVolumes], ",")
	}
	return slices.ContainsFunc(virtual.Spec.Volumes, func(v corev1.Volume) bool {
		isLocal := v.HostPath != nil || v.EmptyDir != nil && v.EmptyDir.Medium != corev1.StorageMediumMemory
		return isLocal && !slices.Contains(named, v.Name)
	})
}
