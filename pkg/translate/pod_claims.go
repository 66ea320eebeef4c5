package translate

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// ResourceClaims returns the names of the ResourceClaims that a pod uses. The names of claims
// from templates are in its status. complete is false while one of them is missing.
func ResourceClaims(pod *corev1.Pod) (names []string, complete bool) {
	complete = true
	for i := range pod.Spec.ResourceClaims {
		switch name, found := claimName(pod, &pod.Spec.ResourceClaims[i]); {
		case !found:
			complete = false
		case name != nil:
			names = append(names, *name)
		}
	}
	return names, complete
}

// claimName returns the name of the claim of one entry, nil if no claim is needed. found is false
// if the claim was not created yet.
func claimName(pod *corev1.Pod, claim *corev1.PodResourceClaim) (name *string, found bool) {
	if claim.ResourceClaimName != nil {
		return claim.ResourceClaimName, true
	}
	for i := range pod.Status.ResourceClaimStatuses {
		if status := &pod.Status.ResourceClaimStatuses[i]; status.Name == claim.Name {
			return status.ResourceClaimName, true
		}
	}
	return nil, false
}

// resolveClaimTemplates replaces the claim templates in a spec by the claims that the virtual
// cluster has created from them. The host must not create claims itself. Entries that need no
// claim are removed.
func resolveClaimTemplates(virtual *corev1.Pod, spec *corev1.PodSpec) error {
	unneeded := map[string]bool{}
	for i := range spec.ResourceClaims {
		claim := &spec.ResourceClaims[i]
		name, found := claimName(virtual, claim)
		if !found {
			return fmt.Errorf("cannot build a host pod for %s/%s: the ResourceClaim %s is not made yet", virtual.Namespace, virtual.Name, claim.Name)
		}
		unneeded[claim.Name] = name == nil
		if name != nil {
			claim.ResourceClaimName, claim.ResourceClaimTemplateName = new(*name), nil
		}
	}
	spec.ResourceClaims = slices.DeleteFunc(spec.ResourceClaims, func(c corev1.PodResourceClaim) bool { return unneeded[c.Name] })
	eachContainer(spec, func(container *corev1.Container) {
		container.Resources.Claims = slices.DeleteFunc(container.Resources.Claims, func(c corev1.ResourceClaim) bool { return unneeded[c.Name] })
	})
	return nil
}

// IsPodDone reports whether a pod no longer needs its ResourceClaims. The rule is that of the
// resource claim controller of Kubernetes.
func IsPodDone(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed ||
		pod.DeletionTimestamp != nil && pod.Spec.NodeName == ""
}

// deviceGrace is the shortest grace period of a host pod with devices, in seconds.
const deviceGrace = 1

// LeastGrace returns the shortest grace period, in seconds, with which a host pod may be
// deleted. The devices of a deleted pod are given to the next one. Without a grace period, that
// could happen before the kubelet has stopped the pod and released them.
func LeastGrace(host *corev1.Pod) int64 {
	if usesDevices(&host.Spec) {
		return deviceGrace
	}
	return 0
}

// raiseGracePeriod replaces a grace period of 0 of a host pod with devices, because the host may
// also delete the pod by itself.
func raiseGracePeriod(spec *corev1.PodSpec) {
	if grace := spec.TerminationGracePeriodSeconds; grace != nil && *grace == 0 && usesDevices(spec) {
		spec.TerminationGracePeriodSeconds = new(int64(deviceGrace))
	}
}

// usesDevices reports whether a pod may use devices, through claims or extended resources.
func usesDevices(spec *corev1.PodSpec) bool {
	uses := len(spec.ResourceClaims) > 0
	eachContainer(spec, func(container *corev1.Container) {
		for name := range container.Resources.Requests {
			uses = uses || IsExtendedResource(name)
		}
		for name := range container.Resources.Limits {
			uses = uses || IsExtendedResource(name)
		}
	})
	return uses
}
