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

// ShouldCopyPod reports whether the host runs the pod. hasCopy reports whether a host
// pod exists. A mirror pod has no copy. A finished pod keeps its copy and never gets
// a new one: it must not run again.
func ShouldCopyPod(virtual *corev1.Pod, hasCopy bool) bool {
	return !isMirror(virtual) && (hasCopy || !IsFinished(virtual))
}

// IsExtendedResource reports whether a resource is one that Kubernetes itself does
// not define, such as example.com/dongle.
func IsExtendedResource(name corev1.ResourceName) bool {
	domain, _, qualified := strings.Cut(string(name), "/")
	return qualified && domain != "kubernetes.io" && !strings.HasSuffix(domain, ".kubernetes.io") &&
		!strings.HasPrefix(string(name), corev1.DefaultResourceRequestsPrefix)
}

// IsOfHostObject reports whether a virtual copy was created from this very host object. It
// returns false if the host object was deleted and created again under its name. The
// fields of the old copy may be immutable.
func IsOfHostObject(virtual, host metav1.Object) bool {
	uid, ok := virtual.GetAnnotations()[labels.HostUID]
	return !ok || uid == string(host.GetUID())
}

// PassAnnotations returns a host object's annotations without those that tools and
// Sublet keep there for the host's object alone. The host may be a virtual cluster too.
func PassAnnotations(host map[string]string) map[string]string {
	passed := make(map[string]string, len(host))
	maps.Copy(passed, host)
	for _, key := range []string{corev1.LastAppliedConfigAnnotation, labels.HostUID, labels.LastApplied, labels.Tenant} {
		delete(passed, key)
	}
	return passed
}
