package translate

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/sublet-dev/sublet/api/labels"
)

// PodStatus updates the status of a virtual pod from its host pod. It keeps what only the virtual
// cluster knows: the QoS class that its API server has computed, and the conditions that its
// controllers have written.
//
// The virtual pod is ready once the host pod is ready and every readiness gate is open.
func PodStatus(c Cluster, host, virtual *corev1.Pod) {
	old := virtual.Status
	status := host.Status.DeepCopy()
	if old.QOSClass != "" {
		// It is immutable, and the host's admission may have added requests or limits.
		status.QOSClass = old.QOSClass
	}
	if host.Spec.NodeName != "" || virtual.Spec.NodeName != "" {
		// An API server rejects a nominated node on a bound pod.
		status.NominatedNodeName = ""
	}
	status.ResourceClaimStatuses = old.ResourceClaimStatuses
	status.ExtendedResourceClaimStatus = old.ExtendedResourceClaimStatus
	status.NodeAllocatableResourceClaimStatuses = old.NodeAllocatableResourceClaimStatuses
	status.VolumeHealth = slices.DeleteFunc(status.VolumeHealth, func(health corev1.PodVolumeHealth) bool {
		return !slices.ContainsFunc(virtual.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == health.Name })
	})
	if status.Phase == "" {
		status.Phase = old.Phase
	}

	status.InitContainerStatuses = dropInjected(status.InitContainerStatuses, virtual.Spec.InitContainers)
	status.ContainerStatuses = dropInjected(status.ContainerStatuses, virtual.Spec.Containers)
	dropUnrequestedResources(status.InitContainerStatuses, virtual.Spec.InitContainers)
	dropUnrequestedResources(status.ContainerStatuses, virtual.Spec.Containers)
	status.EphemeralContainerStatuses = slices.DeleteFunc(status.EphemeralContainerStatuses, func(s corev1.ContainerStatus) bool {
		return findDebugContainer(virtual, s.Name) == nil || !IsTenantsDebugContainer(host, s.Name)
	})
	dropForeignMounts(virtual, status)
	recorded := recordedConditions(virtual)
	recordConditions(virtual, host.Status.Conditions, recorded)
	status.Conditions = mergeConditions(status.Conditions, withoutConditions(old.Conditions, recorded), virtual.Spec.ReadinessGates)
	dropForeignNames(virtual, status.Conditions)
	setObservedGeneration(host, virtual, status)
	applyReadinessGates(virtual.Spec.ReadinessGates, status)
	rewriteStatus(c, host, virtual, status)
	keepRefusedResize(host, virtual, status)
	virtual.Status = *status
}

// dropUnrequestedResources removes the health of resources and claims that the virtual pod does not
// request, because an API server rejects it.
func dropUnrequestedResources(statuses []corev1.ContainerStatus, containers []corev1.Container) {
	for i := range statuses {
		statuses[i].AllocatedResourcesStatus = slices.DeleteFunc(statuses[i].AllocatedResourcesStatus, func(r corev1.ResourceStatus) bool {
			return !slices.ContainsFunc(containers, func(c corev1.Container) bool {
				return c.Name == statuses[i].Name && requestsResource(&c.Resources, r.Name)
			})
		})
	}
}

// requestsResource reports whether a container requests a resource. The kubelet names a resource
// claim "claim:NAME" or "claim:NAME/REQUEST".
func requestsResource(resources *corev1.ResourceRequirements, name corev1.ResourceName) bool {
	if _, ok := resources.Requests[name]; ok {
		return true
	}
	claim, ok := strings.CutPrefix(string(name), "claim:")
	return ok && slices.ContainsFunc(resources.Claims, func(c corev1.ResourceClaim) bool {
		return claim == c.Name && c.Request == "" || c.Request != "" && claim == c.Name+"/"+c.Request
	})
}

// setObservedGeneration sets observedGeneration to the generation of the virtual pod that the kubelet
// has seen. The generations of the two sides are independent. The kubelet has seen the current
// virtual pod if it has seen the current host pod, and that has all changes of the tenant.
func setObservedGeneration(host, virtual *corev1.Pod, status *corev1.PodStatus) {
	seen := virtual.Status.ObservedGeneration
	if seen != virtual.Generation && host.Status.ObservedGeneration != 0 &&
		host.Status.ObservedGeneration >= host.Generation && hasAllRequests(virtual, host) {
		seen = virtual.Generation
	}
	status.ObservedGeneration = seen
	for i := range status.Conditions {
		condition := &status.Conditions[i]
		if isHostCondition(condition.Type) && condition.ObservedGeneration != 0 {
			condition.ObservedGeneration = seen
		}
	}
}

// hasAllRequests reports whether the host pod has the tenant's current values of all mutable fields.
func hasAllRequests(virtual, host *corev1.Pod) bool {
	all := digestRequests(virtual)
	if len(virtual.Spec.EphemeralContainers) > 0 {
		addRequestedDebugContainers(virtual, host, all)
	}
	requested, err := EncodeLastApplied(all)
	if err != nil || host.Annotations[labels.LastApplied] != requested {
		return false
	}
	synced := &corev1.Pod{Spec: corev1.PodSpec{
		Tolerations:                   slices.Clone(host.Spec.Tolerations),
		ActiveDeadlineSeconds:         host.Spec.ActiveDeadlineSeconds,
		TerminationGracePeriodSeconds: host.Spec.TerminationGracePeriodSeconds,
		SchedulingGates:               slices.Clone(host.Spec.SchedulingGates),
	}}
	shortenDeadlines(virtual, synced)
	syncTolerations(virtual, synced)
	openGates(virtual, synced)
	return equality.Semantic.DeepEqual(synced.Spec.Tolerations, host.Spec.Tolerations) &&
		equality.Semantic.DeepEqual(synced.Spec.ActiveDeadlineSeconds, host.Spec.ActiveDeadlineSeconds) &&
		equality.Semantic.DeepEqual(synced.Spec.TerminationGracePeriodSeconds, host.Spec.TerminationGracePeriodSeconds) &&
		len(synced.Spec.SchedulingGates) == len(host.Spec.SchedulingGates)
}

// rewriteStatus replaces host names by virtual names in all messages of the status.
func rewriteStatus(c Cluster, host, virtual *corev1.Pod, status *corev1.PodStatus) {
	names := Rewriter{Cluster: c}
	names.AddPod(virtual, host.UID)
	rewrite := func(text *string) { *text = names.Rewrite(*text) }
	rewrite(&status.Message)
	for i := range status.Conditions {
		rewrite(&status.Conditions[i].Message)
	}
	for i := range status.VolumeHealth {
		for j := range status.VolumeHealth[i].HealthConditions {
			rewrite(&status.VolumeHealth[i].HealthConditions[j].Message)
		}
	}
	for _, list := range [][]corev1.ContainerStatus{status.InitContainerStatuses, status.ContainerStatuses, status.EphemeralContainerStatuses} {
		for i := range list {
			rewriteContainerStatus(&list[i], rewrite)
		}
	}
}

// rewriteContainerStatus rewrites all messages of a container's status.
func rewriteContainerStatus(container *corev1.ContainerStatus, rewrite func(*string)) {
	for _, allocated := range container.AllocatedResourcesStatus {
		for i := range allocated.Resources {
			if message := allocated.Resources[i].Message; message != nil {
				rewrite(message)
			}
		}
	}
	for _, state := range []*corev1.ContainerState{&container.State, &container.LastTerminationState} {
		if state.Waiting != nil {
			rewrite(&state.Waiting.Message)
		}
		if state.Terminated != nil && isRuntimesReason(state.Terminated.Reason) {
			rewrite(&state.Terminated.Message)
		}
	}
}

// isRuntimesReason reports whether a container has ended for a reason whose message is of the container
// runtime, which names the directory of the host pod. Otherwise the message comes from the
// container itself.
func isRuntimesReason(reason string) bool {
	return reason == "StartError" || reason == "ContainerCannotRun"
}
