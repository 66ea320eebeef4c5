package integration

import (
	"context"
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestHostPreempts lets the host's scheduler preempt pods. The virtual pods must end as in every cluster:
// terminating, with the scheduler's reason, and with the final status of the kubelet. It does not run in parallel with
// other tests of pods, because each engine copies every pod of the virtual cluster.
func TestHostPreempts(t *testing.T) {
	r := newRelease(t)
	if err := r.host.client.Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: r.namespace}}); err != nil {
		t.Fatal(err)
	}
	r.start(t, r.host.memory(), r.allKinds()...).synced(t)
	for _, test := range []struct {
		name     string
		reported bool // the kubelet reports how the pod has ended
		exitCode int32
	}{
		{"reported", true, 143}, {"vanished", false, 137},
	} {
		r.createPod(t, test.name)
		r.setFinalizers(t, test.name, `["example.com/held"]`) // as the pods of Jobs have one
		r.bindHostPod(t, test.name)
		running := corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}}
		r.setHostStatus(t, test.name, func(s *corev1.PodStatus) {
			s.Phase, s.StartTime = corev1.PodRunning, new(metav1.Now())
			s.ContainerStatuses = []corev1.ContainerStatus{{Name: "main", Image: "app", State: running}}
		})
		r.awaitVirtual(t, test.name, "runs", func(pod *corev1.Pod) bool { return pod.Status.Phase == corev1.PodRunning && pod.Spec.NodeName != "" })

		// The scheduler first writes the reason, and then deletes the pod.
		r.setHostStatus(t, test.name, func(s *corev1.PodStatus) {
			s.Conditions = append(s.Conditions, corev1.PodCondition{
				Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now(),
				Reason: corev1.PodReasonPreemptionByScheduler, Message: "default-scheduler: preempting to accommodate a higher priority pod",
			})
		})
		if err := r.host.client.Delete(t.Context(), r.hostPod(t, test.name)); err != nil {
			t.Fatal(err)
		}
		r.awaitVirtual(t, test.name, "terminates", func(pod *corev1.Pod) bool {
			return pod.DeletionTimestamp != nil && *pod.DeletionGracePeriodSeconds == 30 && isPreempted(pod) && pod.Status.Phase == corev1.PodRunning
		})
		if test.reported {
			r.setHostStatus(t, test.name, func(s *corev1.PodStatus) {
				s.Phase = corev1.PodFailed
				s.ContainerStatuses[0].State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: test.exitCode, Reason: "Error"}}
			})
		}
		r.loseHostPod(t, test.name)
		r.awaitVirtual(t, test.name, "has ended", func(pod *corev1.Pod) bool {
			ended := pod.Status.ContainerStatuses[0].State.Terminated
			return pod.Status.Phase == corev1.PodFailed && isPreempted(pod) && ended != nil && ended.ExitCode == test.exitCode
		})
		r.setFinalizers(t, test.name, `null`)
		r.awaitGone(t, r.virtual, r.virtualKey(test.name))
		r.awaitGone(t, r.host, r.hostKey(test.name))
	}
}

// isPreempted reports whether a pod shows that a scheduler has preempted it.
func isPreempted(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.DisruptionTarget && c.Status == corev1.ConditionTrue && c.Reason == corev1.PodReasonPreemptionByScheduler
	})
}

// setHostStatus changes the status of a host pod, as its kubelet or scheduler does.
func (r *release) setHostStatus(t *testing.T, name string, change func(*corev1.PodStatus)) {
	t.Helper()
	pod := r.hostPod(t, name)
	before := pod.DeepCopy()
	change(&pod.Status)
	if err := r.host.client.Status().Patch(t.Context(), pod, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
}

// awaitVirtual waits until a virtual pod is as expected.
func (r *release) awaitVirtual(t *testing.T, name, what string, is func(*corev1.Pod) bool) {
	t.Helper()
	eventually(t, name+" "+what, func(ctx context.Context) error {
		pod := &corev1.Pod{}
		if err := r.virtual.client.Get(ctx, r.virtualKey(name), pod); err != nil {
			return err
		}
		if !is(pod) {
			return fmt.Errorf("deleted %v, status %+v", pod.DeletionTimestamp, pod.Status)
		}
		return nil
	})
}
