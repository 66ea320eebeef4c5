package translate

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestShowNeed(t *testing.T) {
	t.Parallel()
	at := metav1.NewTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	virtual := virtualPod(unscheduled(corev1.PodReasonUnschedulable))
	virtual.Status.Conditions[0].LastTransitionTime = at
	virtual.Status.Conditions[0].Message = "what a tenant wrote"
	seeking := func(p *corev1.Pod) { p.Spec.SchedulerName = roomScheduler }
	shown := []corev1.PodCondition{{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: roomMessage, LastTransitionTime: at,
	}}
	tests := map[string]struct {
		reason string
		host   *corev1.Pod
		want   []corev1.PodCondition
	}{
		"New":      {reason: "autoscalers read the condition, and no text of a tenant", host: hostPod(seeking), want: shown},
		"Shown":    {reason: "it is written once", host: changed(hostPod(seeking), unscheduled(corev1.PodReasonUnschedulable)), want: hostPod(unscheduled(corev1.PodReasonUnschedulable)).Status.Conditions},
		"Ordinary": {reason: "the host's scheduler writes it", host: hostPod()},
		"Pinned":   {reason: "the host decides about the node", host: hostPod(seeking, pinned("a"))},
		"Bound":    {reason: "it has a node", host: hostPod(seeking, onNode("a"))},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			setUnschedulable(virtual, tt.host)
			if diff := cmp.Diff(tt.want, tt.host.Status.Conditions); diff != "" {
				t.Errorf("%s:\n%s", tt.reason, diff)
			}
		})
	}
}

func TestUnschedulableSince(t *testing.T) {
	t.Parallel()
	since := metav1.NewTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	for reason, c := range map[string]struct {
		pod  *corev1.Pod
		want bool
	}{
		"the scheduler found no node":       {virtualPod(unscheduled(corev1.PodReasonUnschedulable)), true},
		"nobody has looked for one":         {virtualPod(), false},
		"the host is being asked":           {virtualPod(unscheduled(WaitingForHost)), false},
		"the scheduler makes room":          {virtualPod(nominated("a"), unscheduled(corev1.PodReasonUnschedulable)), false},
		"the tenant keeps it from starting": {virtualPod(withGate), false},
		"the tenant has bound it":           {virtualPod(onNode("a"), unscheduled(corev1.PodReasonUnschedulable)), false},
	} {
		for i := range c.pod.Status.Conditions {
			c.pod.Status.Conditions[i].LastTransitionTime = since
		}
		got, ok := UnschedulableSince(c.pod)
		if ok != c.want || ok && !got.Equal(since.Time) {
			t.Errorf("%s: got %s, %t, want %t", reason, got, ok, c.want)
		}
	}
}
