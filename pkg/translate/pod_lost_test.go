package translate

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestFailLostPod(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	started := metav1.NewTime(now.Add(-time.Hour))
	end := func(id string, started metav1.Time) corev1.ContainerState {
		return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
			ExitCode: 137, Reason: "ContainerStatusUnknown", Message: "The container could not be located when the pod was terminated",
			StartedAt: started, FinishedAt: metav1.NewTime(now), ContainerID: id,
		}}
	}
	spec := corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "a", Image: "i"}, {Name: "b", Image: "j"}}}
	done := corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 0, Reason: "Completed"}}
	tests := map[string]struct {
		reason string
		pod    corev1.Pod
		want   corev1.PodStatus
	}{
		"Running": {
			reason: "Running containers end as unknown, finished ones keep their end, and none is missing.",
			pod: corev1.Pod{Spec: spec, Status: corev1.PodStatus{
				Phase: corev1.PodRunning, StartTime: &started,
				Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
				ContainerStatuses: []corev1.ContainerStatus{
					{Name: "a", Ready: true, ContainerID: "x", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: started}}},
				},
				InitContainerStatuses: []corev1.ContainerStatus{{Name: "setup", State: done}},
			}},
			want: corev1.PodStatus{
				Phase: corev1.PodFailed, Reason: hostPodLost, Message: hostPodLostMessage, StartTime: &started,
				Conditions: []corev1.PodCondition{
					{Type: corev1.PodReady, Status: corev1.ConditionFalse, Reason: "PodFailed", LastTransitionTime: metav1.NewTime(now)},
					{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: hostPodLost, Message: hostPodLostMessage, LastTransitionTime: metav1.NewTime(now)},
				},
				ContainerStatuses: []corev1.ContainerStatus{
					{Name: "a", ContainerID: "x", Started: new(bool), State: end("x", started)},
					{Name: "b", Image: "j", Started: new(bool), State: end("", metav1.Time{})},
				},
				InitContainerStatuses: []corev1.ContainerStatus{{Name: "setup", State: done}},
			},
		},
		"Finished": {
			reason: "A pod that is finished keeps its status.",
			pod:    corev1.Pod{Spec: spec, Status: corev1.PodStatus{Phase: corev1.PodSucceeded}},
			want:   corev1.PodStatus{Phase: corev1.PodSucceeded},
		},
		"NeverBound": {
			reason: "A pod that never had a node fails without having been disrupted.",
			pod:    corev1.Pod{Status: corev1.PodStatus{Phase: corev1.PodPending}},
			want:   corev1.PodStatus{Phase: corev1.PodFailed, Reason: hostPodLost, Message: hostPodLostMessage},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for range 2 { // It is content with its own work.
				FailLostPod(&tc.pod, now)
			}
			if diff := cmp.Diff(tc.want, tc.pod.Status); diff != "" {
				t.Errorf("%s\n-want +got\n%s", tc.reason, diff)
			}
		})
	}
}
