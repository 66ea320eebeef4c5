package translate

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// A pod that names its node is scheduled by nobody, and the kubelet of that node rejects it
// when it does not fit. On the host, the scheduler decides about such a pod too. Where a port
// of the node is taken, the pod is rejected here as by a kubelet. Controllers such as
// StatefulSets replace a pod that has failed, and wait for one that is pending.
//
// A pod without enough of a resource waits. What others use of the host's node is not the
// tenant's to know, and the node may have had room by what the tenant sees.

const (
	// portsTaken is what the host's scheduler writes of a node whose ports are taken.
	portsTaken = "node(s) didn't have free ports for the requested pod ports"
	// nodePorts is the reason with which kubelets reject a pod for that.
	nodePorts = "NodePorts"
)

// RejectFromNode sets the final state of a pod whose node has another pod with its port, and
// reports whether it did. It concerns pods whose node the tenant has named, and that never
// ran. The host pod may go to no other node, so no other can be meant.
func RejectFromNode(virtual, host *corev1.Pod, virtualScheduler bool) bool {
	if virtual.Spec.NodeName == "" || host.Spec.NodeName != "" || IsFinished(virtual) ||
		!isUnschedulableOnHost(host) || HasStarted(virtual, host, virtualScheduler) ||
		!strings.Contains(findCondition(host.Status.Conditions, corev1.PodScheduled).Message, portsTaken) {
		return false
	}
	virtual.Status.Phase, virtual.Status.Reason = corev1.PodFailed, nodePorts
	virtual.Status.Message = "Pod was rejected: Predicate NodePorts failed: " + portsTaken
	return true
}

// isRejected reports whether a pod was rejected from its node. It never ran.
func isRejected(virtual *corev1.Pod) bool {
	return virtual.Status.Phase == corev1.PodFailed && virtual.Status.Reason == nodePorts && virtual.Status.StartTime == nil
}
