package translate

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/sublet-dev/sublet/api/labels"
)

// WaitingForHost is the reason of the condition PodScheduled of a virtual pod that
// has been refused a node before and waits for the host's answer about another.
const WaitingForHost = "WaitingForHost"

// place holds a host pod to the node that was chosen for it. The tenant's own
// rules have played their part in the choice. On the host they would be checked
// against labels and pods that only the virtual cluster has.
func place(in PodInput, spec *corev1.PodSpec) {
	spec.NodeSelector = nil
	spec.Affinity = nil
	spec.TopologySpreadConstraints = nil
	confineTo(in, in.Place, spec)
}

// PlaceOf is the node that a host pod is held to, empty if the host chooses.
func PlaceOf(host *corev1.Pod) string {
	return host.Annotations[labels.Place]
}

// Proposed is the node that the virtual scheduler wants for a pod and has written
// down to ask the host about, empty if it has not. A node that is kept for a pod
// until others have made room is not proposed yet: beside it stands the reason why
// the pod had to be turned away.
func Proposed(virtual *corev1.Pod) string {
	if virtual.Spec.NodeName != "" || IsUnschedulable(virtual) {
		return ""
	}
	return virtual.Status.NominatedNodeName
}

// IsUnschedulable reports whether the pod has a reason why it has no node. Nothing is
// asked for such a pod before the reason is taken away.
func IsUnschedulable(virtual *corev1.Pod) bool {
	condition := find(virtual.Status.Conditions, corev1.PodScheduled)
	return condition != nil && condition.Reason != WaitingForHost
}

// ClearProposal removes the proposed node off a virtual pod, with the host's reason.
func ClearProposal(virtual *corev1.Pod, condition corev1.PodCondition) {
	condition.Type, condition.Status = corev1.PodScheduled, corev1.ConditionFalse
	condition.ObservedGeneration = virtual.Generation
	virtual.Status.NominatedNodeName = ""
	setCondition(&virtual.Status, condition)
}

// PlaceStatus is [PodStatus] for a pod of the virtual scheduler, for which the host
// is asked about node proposed, empty for none. As long as the host has not bound
// it, the virtual scheduler says how things stand with its node, unless the host
// has refused the node that was proposed.
func PlaceStatus(c Cluster, proposed string, host, virtual *corev1.Pod) {
	before := virtual.DeepCopy()
	PodStatus(c, host, virtual)
	if host.Spec.NodeName != "" || before.Spec.NodeName != "" {
		return
	}
	said := find(virtual.Status.Conditions, corev1.PodScheduled)
	if proposed != "" && proposed == PlaceOf(host) && refusedPlace(host) && said != nil {
		ClearProposal(virtual, *said)
		return
	}
	virtual.Status.NominatedNodeName = before.Status.NominatedNodeName
	if own := find(before.Status.Conditions, corev1.PodScheduled); own != nil {
		setCondition(&virtual.Status, *own)
		return
	}
	virtual.Status.Conditions = slices.DeleteFunc(virtual.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodScheduled
	})
}

// refusedPlace says whether the host has turned the pod away. While it makes room
// for the pod by preemption it has not.
func refusedPlace(host *corev1.Pod) bool {
	condition := find(host.Status.Conditions, corev1.PodScheduled)
	return condition != nil && condition.Status == corev1.ConditionFalse &&
		condition.Reason == corev1.PodReasonUnschedulable && host.Status.NominatedNodeName == ""
}

// setCondition puts a condition in the place of the one of its type.
func setCondition(status *corev1.PodStatus, condition corev1.PodCondition) {
	if old := find(status.Conditions, condition.Type); old != nil {
		*old = condition
		return
	}
	status.Conditions = append(status.Conditions, condition)
}
