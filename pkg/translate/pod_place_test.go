package translate

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestProposed(t *testing.T) {
	t.Parallel()
	reason := func(r string) []corev1.PodCondition {
		return []corev1.PodCondition{condition(corev1.PodScheduled, corev1.ConditionFalse, func(c *corev1.PodCondition) { c.Reason = r })}
	}
	for name, test := range map[string]struct {
		reason string
		node   string
		status corev1.PodStatus
		want   string
	}{
		"nothing":         {"nobody has picked a node", "", corev1.PodStatus{}, ""},
		"proposal":        {"the scheduler waits for the host", "", corev1.PodStatus{NominatedNodeName: "a"}, "a"},
		"second proposal": {"the pod was refused another node before", "", corev1.PodStatus{NominatedNodeName: "a", Conditions: reason(WaitingForHost)}, "a"},
		"preemption":      {"others must go first", "", corev1.PodStatus{NominatedNodeName: "a", Conditions: reason(corev1.PodReasonUnschedulable)}, ""},
		"bound":           {"there is nothing left to ask", "a", corev1.PodStatus{NominatedNodeName: "a"}, ""},
	} {
		pod := webPod(func(pod *corev1.Pod) { pod.Spec.NodeName, pod.Status = test.node, test.status })
		if got := Proposed(pod); got != test.want {
			t.Errorf("%s: Proposed = %q, want %q: %s", name, got, test.want, test.reason)
		}
	}
}

// TestPlaceStatus checks who explains why a pod has no node: the virtual scheduler, until
// the host has refused the proposed node.
func TestPlaceStatus(t *testing.T) {
	t.Parallel()
	withReason := func(reason, message string) corev1.PodCondition {
		return condition(corev1.PodScheduled, corev1.ConditionFalse, func(c *corev1.PodCondition) { c.Reason, c.Message = reason, message })
	}
	full := withReason(corev1.PodReasonUnschedulable, "the host is full")
	for name, test := range map[string]struct {
		reason        string
		virtual, host corev1.PodStatus
		place         string
		nominated     string
		message       string
	}{
		"not answered": {"the proposal stands while the host thinks", corev1.PodStatus{NominatedNodeName: "a"}, corev1.PodStatus{}, "a", "a", ""},
		"refused":      {"the host's words replace the proposal", corev1.PodStatus{NominatedNodeName: "a"}, corev1.PodStatus{Conditions: []corev1.PodCondition{full}}, "a", "", "the host is full"},
		"making room":  {"the host preempts others and has not refused", corev1.PodStatus{NominatedNodeName: "a"}, corev1.PodStatus{NominatedNodeName: "a", Conditions: []corev1.PodCondition{full}}, "a", "a", ""},
		"other node":   {"an answer about another node is none", corev1.PodStatus{NominatedNodeName: "b"}, corev1.PodStatus{Conditions: []corev1.PodCondition{full}}, "a", "b", ""},
		"no proposal": {"the virtual scheduler's own reason stays", corev1.PodStatus{Conditions: []corev1.PodCondition{withReason(corev1.PodReasonUnschedulable, "no node fits")}},
			corev1.PodStatus{Conditions: []corev1.PodCondition{full}}, "a", "", "no node fits"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			virtual := webPod(func(pod *corev1.Pod) { pod.Status = test.virtual })
			in := input()
			in.Node = test.place
			host := created(t, in, virtual)
			host.Status = test.host
			if PinnedNode(host) != test.place {
				t.Fatalf("the host pod is held to %q", PinnedNode(host))
			}
			for range 2 { // the second time nothing may change
				state := ReadPodProgress(PodProgressInput{Virtual: virtual, Host: host, VirtualScheduler: true}).State
				ProposedPodStatus(shop, state, host, virtual)
				got := ""
				if c := findCondition(virtual.Status.Conditions, corev1.PodScheduled); c != nil {
					got = c.Message
				}
				if virtual.Status.NominatedNodeName != test.nominated || got != test.message {
					t.Fatalf("%s: nominated %q, message %q", test.reason, virtual.Status.NominatedNodeName, got)
				}
			}
		})
	}
}
