package nodes

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestIsHeartbeat(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		reason string
		change func(*corev1.Node)
		want   bool
	}{
		"Time": {
			reason: "a kubelet is alive, as before", want: true,
			change: func(n *corev1.Node) { n.Status.Conditions[0].LastHeartbeatTime = metav1.NewTime(time.Unix(2, 0)) },
		},
		"Version": {reason: "a write that changed nothing", change: func(n *corev1.Node) { n.ResourceVersion = "3" }, want: true},
		"Condition": {
			reason: "the node is no longer ready",
			change: func(n *corev1.Node) { n.Status.Conditions[0].Status = corev1.ConditionFalse },
		},
		"Transition": {
			reason: "it was away for a moment",
			change: func(n *corev1.Node) { n.Status.Conditions[0].LastTransitionTime = metav1.NewTime(time.Unix(2, 0)) },
		},
		"NewCondition": {
			reason: "a condition more",
			change: func(n *corev1.Node) {
				n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{Type: "Other"})
			},
		},
		"Label":    {reason: "a pod may select it", change: func(n *corev1.Node) { n.Labels = map[string]string{"a": "b"} }},
		"Spec":     {reason: "the host has cordoned it", change: func(n *corev1.Node) { n.Spec.Unschedulable = true }},
		"Capacity": {reason: "it has grown", change: func(n *corev1.Node) { n.Status.Capacity = corev1.ResourceList{} }},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before := &corev1.Node{
				ObjectMeta: metav1.ObjectMeta{Name: "node-1", ResourceVersion: "1"},
				Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{
					Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: metav1.NewTime(time.Unix(1, 0)),
				}}},
			}
			after := before.DeepCopy()
			after.ResourceVersion = "2"
			test.change(after)
			if got := isHeartbeat(before, after); got != test.want {
				t.Errorf("%s: got %t", test.reason, got)
			}
		})
	}
}
