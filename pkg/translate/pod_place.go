package translate

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/sublet-dev/sublet/api/labels"
)

// WaitingForHost is the reason of the condition PodScheduled of a virtual pod that was
// refused a node. It waits for the host's answer about another.
const WaitingForHost = "WaitingForHost"

// pinToNode limits a host pod to its assigned node. The virtual scheduler has applied the
// tenant's own rules. On the host they would be checked against labels and pods that only
// the virtual cluster has.
func pinToNode(in PodInput, spec *corev1.PodSpec) {
	spec.NodeSelector = nil
	spec.Affinity = nil
	spec.TopologySpreadConstraints = nil
	requireNodes(in, in.Node, spec)
}

// PinnedNode returns the node to which a host pod is pinned, empty if the host chooses.
func PinnedNode(host *corev1.Pod) string {
	return host.Annotations[labels.Place]
}

// Proposed returns the node that the virtual scheduler has written as its proposal,
// empty if it has not. A node that is nominated until others have made room is not
// proposed yet: the pod also has a reason why it is unschedulable.
func Proposed(virtual *corev1.Pod) string {
	if virtual.Spec.NodeName != "" || IsUnschedulable(virtual) {
		return ""
	}
	return virtual.Status.NominatedNodeName
}

// IsUnschedulable reports whether the pod has a reason why it has no node. Nothing is
// asked for such a pod before the reason is removed.
func IsUnschedulable(virtual *corev1.Pod) bool {
	condition := findCondition(virtual.Status.Conditions, corev1.PodScheduled)
	return condition != nil && condition.Reason != WaitingForHost
}

// ClearProposal removes the proposed node from a virtual pod, with the host's reason.
func ClearProposal(virtual *corev1.Pod, condition corev1.PodCondition) {
	condition.Type, condition.Status = corev1.PodScheduled, corev1.ConditionFalse
	condition.ObservedGeneration = virtual.Generation
	virtual.Status.NominatedNodeName = ""
	setCondition(&virtual.Status, condition)
}

// HostRefused is the reason of the condition PodScheduled of a pod whose host copy the host
// refuses.
const HostRefused = "HostRefused"

// refusedPeriod is how often the text of a refusal changes at most. The numbers in that of a
// quota change with each pod that comes or goes.
const refusedPeriod = time.Minute

// SetHostRefused writes into a pod that the host refuses its copy. condition has the text and
// the time.
func SetHostRefused(virtual *corev1.Pod, condition corev1.PodCondition) {
	old := findCondition(virtual.Status.Conditions, corev1.PodScheduled)
	if old != nil && old.Reason == HostRefused &&
		(old.Message == condition.Message || condition.LastTransitionTime.Sub(old.LastTransitionTime.Time) < refusedPeriod) {
		return
	}
	condition.Type, condition.Status, condition.Reason = corev1.PodScheduled, corev1.ConditionFalse, HostRefused
	condition.ObservedGeneration = virtual.Generation
	setCondition(&virtual.Status, condition)
}

// ProposedPodStatus syncs the status as [PodStatus] does, for a pod of the virtual
// scheduler. As long as the host has not bound the pod, the conditions of the virtual
// scheduler stay. Only the host's refusal replaces them, with the proposal.
func ProposedPodStatus(c Cluster, state PodState, host, virtual *corev1.Pod) {
	before := virtual.DeepCopy()
	PodStatus(c, host, virtual)
	if host.Spec.NodeName != "" || before.Spec.NodeName != "" {
		return
	}
	if refusal := findCondition(virtual.Status.Conditions, corev1.PodScheduled); state == PodRefused && refusal != nil {
		ClearProposal(virtual, *refusal)
		return
	}
	virtual.Status.NominatedNodeName = before.Status.NominatedNodeName
	if own := findCondition(before.Status.Conditions, corev1.PodScheduled); own != nil {
		setCondition(&virtual.Status, *own)
		return
	}
	virtual.Status.Conditions = slices.DeleteFunc(virtual.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodScheduled
	})
}

// isUnschedulableOnHost reports whether the host has no room for the pod. While it makes
// room by preemption, it has not refused the pod.
func isUnschedulableOnHost(host *corev1.Pod) bool {
	condition := findCondition(host.Status.Conditions, corev1.PodScheduled)
	return condition != nil && condition.Status == corev1.ConditionFalse &&
		condition.Reason == corev1.PodReasonUnschedulable && host.Status.NominatedNodeName == ""
}

// setCondition adds a condition, or replaces the one of its type.
func setCondition(status *corev1.PodStatus, condition corev1.PodCondition) {
	if old := findCondition(status.Conditions, condition.Type); old != nil {
		*old = condition
		return
	}
	status.Conditions = append(status.Conditions, condition)
}
