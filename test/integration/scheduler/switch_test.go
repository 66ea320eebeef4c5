package scheduler

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sublet-dev/sublet/pkg/translate"
)

// TestSwitch switches the virtual scheduler of a virtual cluster on, its view of the host
// off, and then itself, as helm upgrade does. Pods are in every state that they can wait
// in. What has a node stays as it is. What waits gets its node under the new settings.
func TestSwitch(t *testing.T) {
	t.Parallel()
	host := newHost(t, 2)
	w := &switched{shop: openWith(t, host, "switch", settings(false, true)), uids: map[string]types.UID{}, stays: map[string]types.UID{}}
	stop := (&crowd{host: host}).watchful(t)
	for _, stage := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"off", w.off}, {"on", w.on}, {"without the host's usage", w.blind}, {"off again", w.offAgain}, {"room for all", w.room},
	} {
		if !t.Run(stage.name, stage.run) {
			break
		}
	}
	if err := stop(); err != nil {
		t.Errorf("the host was overcommitted on the way: %v", err)
	}
}

// silent is a node of the host whose kubelet does not do a thing.
const silent = "silent"

// switched is a virtual cluster whose settings change.
type switched struct {
	*shop
	uids  map[string]types.UID // of the virtual pods
	stays map[string]types.UID // of the host pods that have a node
}

func settings(scheduler, hostUsage bool) map[string]any {
	return map[string]any{
		"controlPlane": map[string]any{"advanced": map[string]any{
			"virtualScheduler": map[string]any{"enabled": scheduler, "hostUsage": hostUsage},
		}},
		"policies": map[string]any{"pods": map[string]any{"tolerations": []any{silent}}},
	}
}

// off leaves everything to the host, which has room for small pods alone.
func (w *switched) off(t *testing.T) {
	w.addSilent(t)
	for _, node := range w.host.Nodes() {
		w.fill(t, node)
	}
	w.make(t, newPod("steady", "cpu", "500m"))
	w.running(t, "steady")
	starting := newPod("starting")
	starting.Spec.NodeSelector = map[string]string{corev1.LabelHostname: silent}
	starting.Spec.Tolerations = []corev1.Toleration{{Key: silent, Operator: corev1.TolerationOpExists}}
	w.make(t, starting)
	w.make(t, newPod("large", "cpu", "3"))
	// Pods that wait for a node of their choice ask for what no other asks for: the
	// virtual scheduler counts them on that node.
	w.occupy(t, w.host.Nodes()[0])
	picked := newPod("picked", string(gpu), "1")
	picked.Spec.NodeName = w.host.Nodes()[0]
	w.make(t, picked)
	gated := newPod("gated")
	gated.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "example.com/wait"}}
	w.make(t, gated)
	eventually(t, "the host has a node for the one that starts", func(ctx context.Context) error { return w.waitsOn(ctx, "starting", silent) })
	for _, name := range []string{"large", "picked"} {
		eventually(t, name+" waits at the host", func(ctx context.Context) error { return w.refusedByHost(ctx, name, "") })
	}
	w.cordoning(t, false)
	w.recordHostPods(t, "steady", "starting")
}

// on lets the virtual scheduler decide, who knows that nothing large fits.
func (w *switched) on(t *testing.T) {
	w.upgrade(t, settings(true, true))
	w.mayReadPods(t, true)
	eventually(t, "large waits in the virtual scheduler", func(ctx context.Context) error {
		pod, err := w.get(ctx, "large")
		if err != nil {
			return err
		}
		if pod.Spec.NodeName != "" || !strings.Contains(refusal(pod), "Insufficient cpu") {
			return fmt.Errorf("on %q, %v", pod.Spec.NodeName, pod.Status.Conditions)
		}
		return w.notScheduledByHost(ctx, "large")
	})
	eventually(t, "gated is no matter of the host", func(ctx context.Context) error { return w.noHostPod(ctx, "gated") })
	node := w.host.Nodes()[0]
	eventually(t, "picked waits at the host, for its node", func(ctx context.Context) error { return w.refusedByHost(ctx, "picked", node) })

	// From now on the second node has room for large, but not for this tenant. The large
	// that waits may have been proposed before the cordon. A new one comes after it.
	for _, node := range w.host.Nodes() {
		eventually(t, "the tenant sees what others use of "+node, func(ctx context.Context) error { return w.offers(ctx, node, "2") })
	}
	w.cordoning(t, true)
	w.awaitClosed(t, w.host.Nodes()[1])
	w.remake(t, newPod("large", "cpu", "3"))
	w.staysPending(t, "large", "1 node(s) were unschedulable")
	w.free(t, w.host.Nodes()[1])
	eventually(t, "the tenant sees the room", func(ctx context.Context) error { return w.offers(ctx, w.host.Nodes()[1], "8") })
	w.make(t, newPod("probe", "cpu", "100m"))
	if pod := w.running(t, "probe"); pod.Spec.NodeName != node {
		t.Errorf("probe is on %s, which is cordoned", pod.Spec.NodeName)
	}
	w.recordHostPods(t, "probe")
	w.unmoved(t)
}

// blind takes from the virtual scheduler what it knows of the host: it has to ask.
func (w *switched) blind(t *testing.T) {
	w.upgrade(t, settings(true, false))
	w.mayReadPods(t, false)
	eventually(t, "the tenant sees none of what others use", func(ctx context.Context) error { return w.offers(ctx, w.host.Nodes()[0], "8") })
	// Nothing but the host pod of a proposal has an affinity to speak of.
	eventually(t, "the host is asked for large, and refuses", func(ctx context.Context) error {
		pod, err := w.get(ctx, "large")
		if err == nil && (pod.Spec.NodeName != "" || !strings.Contains(refusal(pod), "NodeAffinity")) {
			err = fmt.Errorf("on %q, %v", pod.Spec.NodeName, pod.Status.Conditions)
		}
		return err
	})
	node, err := w.client.CoreV1().Nodes().Get(t.Context(), w.host.Nodes()[1], metav1.GetOptions{})
	if err != nil || !node.Spec.Unschedulable {
		t.Errorf("the tenant's cordon is gone: %v", err)
	}

	consumer := newConsumer(t, w.shop, "consumer")
	w.make(t, consumer)
	eventually(t, "consumer waits at the host, for its volume", func(ctx context.Context) error {
		pod, err := w.hostPod(ctx, "consumer")
		if err == nil && (pod.Spec.NodeName != "" || translate.PinnedNode(pod) != w.host.Nodes()[0]) {
			err = fmt.Errorf("on %q, held to %q", pod.Spec.NodeName, translate.PinnedNode(pod))
		}
		return err
	})
	w.bindAsTenant(t, "own", w.host.Nodes()[0])
	eventually(t, "own waits at the host, for its node", func(ctx context.Context) error { return w.refusedByHost(ctx, "own", w.host.Nodes()[0]) })
	w.unmoved(t)
}

// offAgain gives the decision back to the host, where the tenant's cordon counts
// for nothing.
func (w *switched) offAgain(t *testing.T) {
	w.upgrade(t, settings(false, false))
	if pod := w.running(t, "large"); pod.Spec.NodeName != w.host.Nodes()[1] {
		t.Errorf("large is on %s, where there is no room", pod.Spec.NodeName)
	}
	w.recordHostPods(t, "large")
	eventually(t, "the cordon is gone", func(ctx context.Context) error {
		node, err := w.client.CoreV1().Nodes().Get(ctx, w.host.Nodes()[1], metav1.GetOptions{})
		if err == nil && node.Spec.Unschedulable {
			err = errors.New("the node is cordoned")
		}
		events, listErr := w.client.CoreV1().Events(metav1.NamespaceDefault).List(ctx, metav1.ListOptions{FieldSelector: "reason=NodeChangesDropped"})
		if listErr == nil && len(events.Items) == 0 {
			listErr = errors.New("no event tells of it")
		}
		return errors.Join(err, listErr)
	})
	w.cordoning(t, false)
	for _, name := range []string{"picked", "own"} {
		eventually(t, name+" waits at the host", func(ctx context.Context) error { return w.refusedByHost(ctx, name, "") })
	}
	w.unmoved(t)
}

// room gives every pod what it waits for.
func (w *switched) room(t *testing.T) {
	ctx := t.Context()
	node := w.host.Nodes()[0]
	w.free(t, node)
	w.vacate(t)
	for _, name := range []string{"picked", "own"} {
		if pod := w.running(t, name); pod.Spec.NodeName != node {
			t.Errorf("%s is on %s, was to be on %s", name, pod.Spec.NodeName, node)
		}
	}
	open := []byte(`[{"op":"remove","path":"/spec/schedulingGates"}]`)
	if _, err := w.client.CoreV1().Pods(metav1.NamespaceDefault).Patch(ctx, "gated", types.JSONPatchType, open, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	w.running(t, "gated")
	provision(t, w.shop)
	w.running(t, "consumer")
	started, err := w.hostPod(ctx, "starting")
	if err != nil {
		t.Fatal(err)
	}
	started.Status.Phase, started.Status.StartTime = corev1.PodRunning, new(metav1.Now())
	if _, err := w.host.Client().CoreV1().Pods(w.name).UpdateStatus(ctx, started, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	w.running(t, "starting")
	w.unmoved(t)
	if n, err := w.agree(ctx); err != nil || n != len(w.uids) {
		t.Errorf("%d of %d pods have a node, %v", n, len(w.uids), err)
	}
	for name, uid := range w.uids {
		if pod, err := w.get(ctx, name); err != nil || pod.UID != uid {
			t.Errorf("%s is not the pod that it was: %v", name, err)
		}
	}
}
