package translate

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/sublet-dev/sublet/api/labels"
)

// TestRejectFromNode reads messages of the host's scheduler about a pod with a named node.
func TestRejectFromNode(t *testing.T) {
	t.Parallel()
	const full = "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) didn't satisfy plugin(s) [NodeAffinity]. no new claims to deallocate"
	named := func(changes ...podChange) *corev1.Pod {
		return virtualPod(append([]podChange{onNode("a")}, changes...)...)
	}
	for _, c := range []struct {
		reason           string
		virtual          *corev1.Pod
		message          string
		host             podChange
		virtualScheduler bool
		want             string // the reason of the pod, empty if it continues
	}{
		{reason: "a resource is used up", virtual: named(), message: full, want: "OutOfcpu"},
		{reason: "with a virtual scheduler too", virtual: named(), message: full, virtualScheduler: true, want: "OutOfcpu"},
		{reason: "a resource of a vendor", virtual: named(), message: "0/1 nodes are available: 1 Insufficient example.com/gpu. preemption: none", want: "OutOfexample.com/gpu"},
		{reason: "the node has as many pods as it may", virtual: named(), message: "0/1 nodes are available: 1 Too many pods.", want: "OutOfpods"},
		{reason: "a port is taken", virtual: named(), message: "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports.", want: "NodePorts"},
		{reason: "kubelets do not look at a cordon", virtual: named(), message: "0/1 nodes are available: 1 node(s) were unschedulable."},
		{reason: "nobody has named a node", virtual: virtualPod(), message: full},
		{reason: "the host makes room", virtual: named(), message: full, host: nominated("a")},
		{reason: "it is on the node", virtual: named(), message: full, host: onNode("a")},
		{reason: "it has started before", virtual: named(withStart), message: full},
		{reason: "the host had bound it before", virtual: named(annotated(labels.Bound, "one")), message: full},
		{reason: "it is finished", virtual: named(inPhase(corev1.PodSucceeded)), message: full},
	} {
		host := hostPod(unscheduled(corev1.PodReasonUnschedulable))
		host.Status.Conditions[0].Message = c.message
		if c.host != nil {
			c.host(host)
		}
		got := RejectFromNode(c.virtual, host, c.virtualScheduler)
		if got != (c.want != "") || c.virtual.Status.Reason != c.want {
			t.Errorf("%s: got %t, %q, want %q", c.reason, got, c.virtual.Status.Reason, c.want)
		}
		if got && !isRejected(c.virtual) {
			t.Errorf("%s: the state is not recognised: %+v", c.reason, c.virtual.Status)
		}
	}
}
