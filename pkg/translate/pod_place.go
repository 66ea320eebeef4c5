package translate

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/sublet-dev/sublet/api/labels"
)

// WaitingForHost is the reason of the condition PodScheduled of a virtual pod while the host
// decides about another node, after it has refused one.
const WaitingForHost = "WaitingForHost"

// pinToNode limits a host pod to its assigned node and clears the tenant's scheduling constraints.
// The virtual scheduler has applied them. They refer to labels and pods of the virtual cluster,
// which the host's scheduler does not know.
func pinToNode(in PodInput, spec *corev1.PodSpec) {
	spec.NodeSelector = nil
	spec.Affinity = nil
	spec.TopologySpreadConstraints = nil
	limitToNodes(in.NodeSelector, in.Node, spec)
}

// PinnedNode returns the node to which a host pod is pinned, empty if the host chooses.
func PinnedNode(host *corev1.Pod) string {
	return host.Annotations[labels.Place]
}

// IsCreatedFor reports whether a host pod was created for a node, by the virtual scheduler or by a virtual
// pod that already had the node.
func IsCreatedFor(host *corev1.Pod, node string) bool {
	return host.Annotations[labels.Place] == node || host.Annotations[labels.LimitedTo] == node
}

// Proposed returns the node that the virtual scheduler has written as its proposal, empty for
// none. It also returns none for a pod that is unschedulable: its nominated node is one on which
// preemption is still making room.
func Proposed(virtual *corev1.Pod) string {
	if virtual.Spec.NodeName != "" || IsUnschedulable(virtual) {
		return ""
	}
	return virtual.Status.NominatedNodeName
}

// IsUnschedulable reports whether a pod has a condition with the reason why it has no node. Its
// host pod is not created until that condition is removed.
func IsUnschedulable(virtual *corev1.Pod) bool {
	condition := findCondition(virtual.Status.Conditions, corev1.PodScheduled)
	return condition != nil && condition.Reason != WaitingForHost
}

// ClearProposal removes the proposed node from a virtual pod and sets PodScheduled to false, with
// the reason and message of condition.
func ClearProposal(virtual *corev1.Pod, condition corev1.PodCondition) {
	condition.Type, condition.Status = corev1.PodScheduled, corev1.ConditionFalse
	condition.ObservedGeneration = virtual.Generation
	virtual.Status.NominatedNodeName = ""
	setCondition(&virtual.Status, condition)
}

// HostRefused is the reason of the condition PodScheduled of a pod whose host copy the host
// refuses.
const HostRefused = "HostRefused"

// refusedPeriod is the minimum time between two changes of the message of a refusal. The message
// of an exceeded quota has numbers that change with each pod.
const refusedPeriod = time.Minute

// SetHostRefused sets the condition PodScheduled of a pod whose copy the host refuses. condition has
// the message and the time.
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

// ProposedPodStatus updates the status like [PodStatus], for a pod of the virtual scheduler. Until
// the host has bound the pod, it keeps the nominated node and the condition PodScheduled of the
// virtual scheduler. Only a refusal of the host replaces them.
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

// isUnschedulableOnHost reports whether the host's scheduler finds no room for the pod. It is false
// while the host makes room by preemption.
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
