package translate

import (
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// A pod that names its node is scheduled by nobody, and the kubelet of that node rejects it
// when it does not fit. On the host, the scheduler decides about such a pod too. A
// node that it finds full rejects the pod here. Controllers such as StatefulSets replace a
// pod that has failed, and wait for one that is pending.

const (
	// portsTaken is what the host's scheduler writes of a node whose ports are taken.
	portsTaken = "didn't have free ports for the requested pod ports"
	// tooManyPods is what it writes of a node with as many pods as it may have.
	tooManyPods = "Too many pods"

	// nodePorts and outOf are reasons with which kubelets reject pods. The name of the
	// resource follows the latter.
	nodePorts = "NodePorts"
	outOf     = "OutOf"
)

// insufficient matches what the host's scheduler writes of a node without enough of a resource.
var insufficient = regexp.MustCompile(`Insufficient ([A-Za-z0-9./_-]*[A-Za-z0-9])`)

// RejectFromNode sets the final state of a pod that its node has no room for, and reports
// whether it did. It concerns pods whose node the tenant has named, and that never ran.
func RejectFromNode(virtual, host *corev1.Pod, virtualScheduler bool) bool {
	if virtual.Spec.NodeName == "" || host.Spec.NodeName != "" || IsFinished(virtual) ||
		!isUnschedulableOnHost(host) || HasStarted(virtual, host, virtualScheduler) {
		return false
	}
	reason, message := rejection(findCondition(host.Status.Conditions, corev1.PodScheduled).Message)
	if reason == "" {
		return false
	}
	virtual.Status.Phase, virtual.Status.Reason, virtual.Status.Message = corev1.PodFailed, reason, "Pod was rejected: "+message
	return true
}

// rejection returns the reason and the message of a kubelet for a message of the host's
// scheduler. Both are empty where no kubelet would reject the pod. The host pod may go to
// one node alone, so the message is about that.
func rejection(message string) (reason, text string) {
	if strings.Contains(message, portsTaken) {
		return nodePorts, "Predicate NodePorts failed: node(s) " + portsTaken
	}
	resource := "pods"
	if found := insufficient.FindStringSubmatch(message); found != nil {
		resource = found[1]
	} else if !strings.Contains(message, tooManyPods) {
		return "", ""
	}
	return outOf + resource, "Node didn't have enough resource: " + resource
}

// isRejected reports whether a pod was rejected from its node. It never ran.
func isRejected(virtual *corev1.Pod) bool {
	status := &virtual.Status
	return status.Phase == corev1.PodFailed && status.StartTime == nil &&
		(status.Reason == nodePorts || strings.HasPrefix(status.Reason, outOf))
}
