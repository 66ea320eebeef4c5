package translate

import (
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/api/labels"
)

// IsFinished reports whether a pod has ended and will not run again.
func IsFinished(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// ShouldCopyPod reports whether a pod without a host pod should get one. A mirror pod never has one. A
// finished pod gets no new one, because it must not run again.
func ShouldCopyPod(virtual *corev1.Pod) bool {
	return !isMirror(virtual) && !IsFinished(virtual)
}

// IsExtendedResource reports whether a resource is one that Kubernetes itself does
// not define, such as example.com/dongle.
func IsExtendedResource(name corev1.ResourceName) bool {
	domain, _, qualified := strings.Cut(string(name), "/")
	return qualified && domain != "kubernetes.io" && !strings.HasSuffix(domain, ".kubernetes.io") &&
		!strings.HasPrefix(string(name), corev1.DefaultResourceRequestsPrefix)
}

// IsOfHostObject reports whether a virtual copy was created from this very host object, and not
// from an earlier one of the same name. Fields of an earlier one's copy may be immutable.
func IsOfHostObject(virtual, host metav1.Object) bool {
	uid, ok := virtual.GetAnnotations()[labels.HostUID]
	return !ok || uid == string(host.GetUID())
}

// PassAnnotations returns the annotations of a host object for its virtual copy. It omits those of
// kubectl and Sublet, which only refer to the host object. The host may itself be a virtual
// cluster.
func PassAnnotations(host map[string]string) map[string]string {
	passed := make(map[string]string, len(host))
	maps.Copy(passed, host)
	for _, key := range []string{corev1.LastAppliedConfigAnnotation, labels.HostUID, labels.LastApplied, labels.Tenant} {
		delete(passed, key)
	}
	return passed
}
