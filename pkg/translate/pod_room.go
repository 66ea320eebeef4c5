package translate

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

const (
	// roomScheduler is the scheduler name of a host pod that only signals the need for a node. No
	// such scheduler runs, so the host never binds the pod.
	roomScheduler = "sublet.dev-virtual-scheduler"
	// roomMessage is the message of the condition that an autoscaler of the host reads. It
	// contains no text of the tenant.
	roomMessage = "the scheduler of the virtual cluster finds no node for the pod"
)

// UnschedulableSince returns since when the virtual scheduler has found no node for a pod. ok is
// false for a pod that is not unschedulable, or for which preemption is making room.
func UnschedulableSince(virtual *corev1.Pod) (since time.Time, ok bool) {
	condition := findCondition(virtual.Status.Conditions, corev1.PodScheduled)
	if condition == nil || condition.Status != corev1.ConditionFalse || condition.Reason != corev1.PodReasonUnschedulable ||
		virtual.Spec.NodeName != "" || virtual.Status.NominatedNodeName != "" || condition.LastTransitionTime.IsZero() {
		return since, false
	}
	return condition.LastTransitionTime.Time, true
}

// seeksRoom reports whether a host pod only signals the need for a node.
func seeksRoom(host *corev1.Pod) bool {
	return host.Spec.SchedulerName == roomScheduler && PinnedNode(host) == ""
}

// setUnschedulable sets the condition of a host pod that seeks room, so that autoscalers see it.
// The host's scheduler ignores the pod.
func setUnschedulable(virtual, host *corev1.Pod) {
	if !seeksRoom(host) || host.Spec.NodeName != "" || isUnschedulableOnHost(host) {
		return
	}
	want := corev1.PodCondition{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: roomMessage,
	}
	if own := findCondition(virtual.Status.Conditions, corev1.PodScheduled); own != nil {
		want.LastTransitionTime = own.LastTransitionTime
	}
	host.Status.Conditions = slices.Clone(host.Status.Conditions)
	setCondition(&host.Status, want)
}
