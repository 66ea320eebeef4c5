package translate

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/sublet-dev/sublet/api/labels"
)

// TestRejectFromNode reads messages of the host's scheduler about a pod with a named node.
func TestRejectFromNode(t *testing.T) {
	t.Parallel()
	const taken = "0/2 nodes are available: 1 node(s) didn't have free ports for the requested pod ports, 1 node(s) didn't satisfy plugin(s) [NodeAffinity]."
	named := func(changes ...podChange) *corev1.Pod {
		return virtualPod(append([]podChange{onNode("a")}, changes...)...)
	}
	for _, c := range []struct {
		reason           string
		virtual          *corev1.Pod
		message          string
		host             podChange
		virtualScheduler bool
		rejected         bool
	}{
		{reason: "a port is taken", virtual: named(), message: taken, rejected: true},
		{reason: "with a virtual scheduler too", virtual: named(), message: taken, virtualScheduler: true, rejected: true},
		{reason: "it waits for a resource", virtual: named(), message: "0/1 nodes are available: 1 Insufficient cpu."},
		{reason: "kubelets do not look at a cordon", virtual: named(), message: "0/1 nodes are available: 1 node(s) were unschedulable."},
		{reason: "nobody has named a node", virtual: virtualPod(), message: taken},
		{reason: "the host makes room", virtual: named(), message: taken, host: nominated("a")},
		{reason: "it is on the node", virtual: named(), message: taken, host: onNode("a")},
		{reason: "it has started before", virtual: named(withStart), message: taken},
		{reason: "the host had bound it before", virtual: named(annotated(labels.Bound, "one")), message: taken},
		{reason: "it is finished", virtual: named(inPhase(corev1.PodSucceeded)), message: taken},
	} {
		host := hostPod(unscheduled(corev1.PodReasonUnschedulable))
		host.Status.Conditions[0].Message = c.message
		if c.host != nil {
			c.host(host)
		}
		got := RejectFromNode(c.virtual, host, c.virtualScheduler)
		if got != c.rejected || got != isRejected(c.virtual) {
			t.Errorf("%s: rejected: %t, want %t, with status %+v", c.reason, got, c.rejected, c.virtual.Status)
		}
	}
}
