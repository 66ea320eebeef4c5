package integration

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/syncer/kinds"
)

// TestPodRunsOnce stops the engine with pods at every step before they have a node. The host
// continues meanwhile. A pod that the host has bound and removed must not run again.
func TestPodRunsOnce(t *testing.T) {
	r := newRelease(t)
	if err := r.host.client.Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: r.namespace}}); err != nil {
		t.Fatal(err)
	}
	first := r.start(t, r.host.memory(), r.allKinds()...)
	first.synced(t)
	copies := map[string]types.UID{} // name -> UID of the host pod before the stop
	for _, name := range []string{"ran", "bound", "unbound", "lost"} {
		r.createPod(t, name)
		copies[name] = r.hostPod(t, name).UID
	}
	first.stop()

	r.createPod(t, "new")
	for _, name := range []string{"ran", "bound"} {
		r.bindHostPod(t, name)
	}
	r.loseHostPod(t, "ran")
	r.loseHostPod(t, "lost")
	r.start(t, r.host.memory(), r.allKinds(func(o *kinds.Options) { o.TermStart = time.Now })...).synced(t)

	r.awaitGone(t, r.virtual, r.virtualKey("ran"))
	r.awaitGone(t, r.host, r.hostKey("ran"))
	r.hostPod(t, "new")
	if got := r.hostPod(t, "lost").UID; got == copies["lost"] {
		t.Error("the host pod that was lost without a node is still there")
	}
	for _, name := range []string{"bound", "unbound"} {
		if got := r.hostPod(t, name).UID; got != copies[name] {
			t.Errorf("%s has another host pod", name)
		}
	}
	eventually(t, "node of the pod that was bound meanwhile", func(ctx context.Context) error {
		pod := &corev1.Pod{}
		err := r.virtual.client.Get(ctx, r.virtualKey("bound"), pod)
		if err == nil && pod.Spec.NodeName != r.namespace {
			err = fmt.Errorf("on %q", pod.Spec.NodeName)
		}
		return err
	})
}

// createPod creates a virtual pod.
func (r *release) createPod(t *testing.T, name string) {
	t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: name},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "registry.test/app"}}},
	}
	if err := r.virtual.client.Create(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
}

// hostPod waits for the host pod of a virtual pod.
func (r *release) hostPod(t *testing.T, name string) *corev1.Pod {
	t.Helper()
	pod := &corev1.Pod{}
	eventually(t, "host pod of "+name, func(ctx context.Context) error { return r.host.client.Get(ctx, r.hostKey(name), pod) })
	return pod
}

// bindHostPod binds a host pod as the host's scheduler does, which records an event.
func (r *release) bindHostPod(t *testing.T, name string) {
	t.Helper()
	pod := r.hostPod(t, name)
	binding := &corev1.Binding{Target: corev1.ObjectReference{Kind: "Node", Name: r.namespace}}
	if err := r.host.client.SubResource("binding").Create(t.Context(), pod, binding); err != nil {
		t.Fatal(err)
	}
	event := &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name + ".1"},
		InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
		Reason:         "Scheduled", Type: corev1.EventTypeNormal,
	}
	if err := r.host.client.Create(t.Context(), event, &client.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}
