package translate

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// A pod that sets its node bypasses the scheduler, and the kubelet of that node rejects it if it
// does not fit. The host pod does not bypass the host's scheduler, and would stay pending. If it
// cannot run because a host port is taken, Sublet fails the pod as a kubelet would. Controllers
// such as StatefulSets replace a failed pod, but not a pending one.
//
// A pod that lacks resources waits. It may fit by what the tenant sees of the node, and the usage
// of foreign pods must not be disclosed.

const (
	// portsTaken is the message of the host's scheduler for nodes whose host ports are taken.
	portsTaken = "node(s) didn't have free ports for the requested pod ports"
	// nodePorts is the reason with which kubelets reject such a pod.
	nodePorts = "NodePorts"
)

// RejectFromNode fails a pod whose host port is taken on the node that the tenant has set, and
// reports whether it did. The pod must not have run. As the host pod is limited to that node,
// the scheduler's message is about no other.
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

// isRejected reports whether [RejectFromNode] has failed a pod. Such a pod never ran.
func isRejected(virtual *corev1.Pod) bool {
	return virtual.Status.Phase == corev1.PodFailed && virtual.Status.Reason == nodePorts && virtual.Status.StartTime == nil
}
