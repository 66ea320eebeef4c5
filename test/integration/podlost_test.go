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

// TestLostPodsFail deletes host pods by force, while the engine runs and while it is down.
// Pods with a finalizer, as Jobs have, must get a final phase, and all others must go.
func TestLostPodsFail(t *testing.T) {
	r := newRelease(t)
	f := newFarm(t, r)
	first := r.start(t, r.host.memory(), r.allKinds()...)
	first.synced(t)
	names := []string{"held", "plain", "held-down", "plain-down", "forced-down"}
	for _, name := range names {
		f.run(t, r, name)
	}
	f.await(t, first, "virtual Running", f.virtualRunning, len(names))
	for _, name := range []string{"held", "held-down"} {
		r.setFinalizers(t, name, `["example.com/held"]`)
	}
	r.loseHostPod(t, "held")
	r.loseHostPod(t, "plain")
	r.awaitFailed(t, "held")
	r.awaitGone(t, r.virtual, r.virtualKey("plain"))
	first.stop()
	r.loseHostPod(t, "held-down")
	r.loseHostPod(t, "plain-down")
	forced := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: "forced-down"}}
	if err := r.virtual.client.Delete(t.Context(), forced, client.GracePeriodSeconds(0)); err != nil {
		t.Fatal(err)
	}
	r.start(t, r.host.memory(), r.allKinds()...).synced(t)
	r.awaitFailed(t, "held-down")
	r.awaitGone(t, r.virtual, r.virtualKey("plain-down"))
	r.awaitGone(t, r.host, r.hostKey("forced-down"))
	for _, name := range []string{"held", "held-down"} {
		r.setFinalizers(t, name, `null`)
		r.awaitGone(t, r.virtual, r.virtualKey(name))
	}
}

// setFinalizers sets the finalizers of a virtual pod.
func (r *release) setFinalizers(t *testing.T, name, finalizers string) {
	t.Helper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: name}}
	patch := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":`+finalizers+`}}`))
	if err := r.virtual.client.Patch(t.Context(), pod, patch); err != nil {
		t.Fatal(err)
	}
}

// loseHostPod deletes the host copy of a pod by force.
func (r *release) loseHostPod(t *testing.T, name string) {
	t.Helper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: r.hostKey(name).Name}}
	if err := r.host.client.Delete(t.Context(), pod, client.GracePeriodSeconds(0)); err != nil {
		t.Fatal(err)
	}
}

// awaitFailed waits until a terminating pod shows how it ended.
func (r *release) awaitFailed(t *testing.T, name string) {
	t.Helper()
	eventually(t, "final status of "+name, func(ctx context.Context) error {
		pod := &corev1.Pod{}
		if err := r.virtual.client.Get(ctx, r.virtualKey(name), pod); err != nil {
			return err
		}
		disrupted := slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.DisruptionTarget && c.Status == corev1.ConditionTrue
		})
		ended := len(pod.Status.ContainerStatuses) == 1 && pod.Status.ContainerStatuses[0].State.Terminated != nil
		if pod.Status.Phase != corev1.PodFailed || pod.DeletionTimestamp == nil || !disrupted || !ended {
			return fmt.Errorf("phase %s, reason %q, deleted %v, conditions %v, containers %v", pod.Status.Phase, pod.Status.Reason,
				pod.DeletionTimestamp, pod.Status.Conditions, pod.Status.ContainerStatuses)
		}
		return nil
	})
}

// awaitGone waits until a pod of one side does not exist.
func (r *release) awaitGone(t *testing.T, side *cluster, key client.ObjectKey) {
	t.Helper()
	eventually(t, "end of "+key.String(), func(ctx context.Context) error {
		err := side.client.Get(ctx, key, &corev1.Pod{})
		if err == nil {
			return fmt.Errorf("pod %s exists", key)
		}
		return client.IgnoreNotFound(err)
	})
}
