package kinds

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/sublet-dev/sublet/api/labels"
)

// twoWriters is a node that a host and a tenant write in turn, and what each of
// them has put there.
type twoWriters struct {
	host, virtual *corev1.Node
	// seen and shown are the two as the syncer left them. A key that the host has
	// there is the host's, whatever the tenant writes under it.
	seen, shown  *corev1.Node
	tenantLabels map[string]string
	tenantTaints map[string]corev1.Taint
	cordoned     bool
}

func newTwoWriters() *twoWriters {
	named := func() *corev1.Node { return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-1", UID: "u"}} }
	return &twoWriters{host: named(), virtual: named(), seen: named(), shown: named(), tenantLabels: map[string]string{}, tenantTaints: map[string]corev1.Taint{}}
}

// drawKey draws of few keys, so that the two writers meet often.
func drawKey(t *rapid.T) string {
	return rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "key")
}

func drawTaint(t *rapid.T) corev1.Taint {
	return corev1.Taint{
		Key:    drawKey(t),
		Value:  rapid.SampledFrom([]string{"", "x", "y"}).Draw(t, "value"),
		Effect: rapid.SampledFrom([]corev1.TaintEffect{corev1.TaintEffectNoSchedule, corev1.TaintEffectNoExecute}).Draw(t, "effect"),
	}
}

func hasTaint(node *corev1.Node, taint corev1.Taint) bool {
	return slices.ContainsFunc(node.Spec.Taints, func(o corev1.Taint) bool { return taintKey(o) == taintKey(taint) })
}

// hostWrites changes the host's node.
func (w *twoWriters) hostWrites(t *rapid.T) {
	switch rapid.IntRange(0, 3).Draw(t, "host") {
	case 0:
		w.host.Labels = map[string]string{}
		for range rapid.IntRange(0, 3).Draw(t, "count") {
			w.host.Labels[drawKey(t)] = "host"
		}
	case 1:
		w.host.Spec.Taints = nil
		for range rapid.IntRange(0, 3).Draw(t, "count") {
			taint := drawTaint(t)
			if !hasTaint(w.host, taint) {
				w.host.Spec.Taints = append(w.host.Spec.Taints, taint)
			}
		}
	case 2:
		w.host.Spec.Unschedulable = !w.host.Spec.Unschedulable
	case 3:
		w.host.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Reason: rapid.String().Draw(t, "reason")}}
	}
}

// tenantWrites changes the virtual node.
func (w *twoWriters) tenantWrites(t *rapid.T) {
	switch rapid.IntRange(0, 3).Draw(t, "tenant") {
	case 0:
		key := drawKey(t)
		w.virtual.Labels = maps.Clone(w.virtual.Labels)
		if w.virtual.Labels == nil {
			w.virtual.Labels = map[string]string{}
		}
		w.virtual.Labels[key] = "tenant"
		if _, taken := w.seen.Labels[key]; !taken {
			w.tenantLabels[key] = "tenant"
		}
	case 1:
		key := drawKey(t)
		w.virtual.Labels = maps.Clone(w.virtual.Labels)
		delete(w.virtual.Labels, key)
		delete(w.tenantLabels, key)
	case 2:
		taint := drawTaint(t)
		w.virtual.Spec.Taints = slices.DeleteFunc(slices.Clone(w.virtual.Spec.Taints), func(o corev1.Taint) bool { return taintKey(o) == taintKey(taint) })
		delete(w.tenantTaints, taintKey(taint))
		if rapid.Bool().Draw(t, "add") {
			w.virtual.Spec.Taints = append(w.virtual.Spec.Taints, taint)
			if !hasTaint(w.seen, taint) {
				w.tenantTaints[taintKey(taint)] = taint
			}
		}
	case 3:
		w.virtual.Spec.Unschedulable = rapid.Bool().Draw(t, "cordon")
	}
}

// sync lets the syncer look and holds that both writers have what is theirs.
func (w *twoWriters) sync(t *rapid.T) {
	if w.virtual.Spec.Unschedulable != w.shown.Spec.Unschedulable {
		w.cordoned = w.virtual.Spec.Unschedulable
	}
	before := w.host.DeepCopy()
	if err := nodeUp(w.host.DeepCopy(), w.virtual, true); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, w.host); diff != "" {
		t.Fatalf("the host's node was changed:\n%s", diff)
	}
	// What the host has is the host's, and the tenant's no more.
	maps.DeleteFunc(w.tenantLabels, func(key, _ string) bool { _, taken := w.host.Labels[key]; return taken })
	for _, taint := range w.host.Spec.Taints {
		delete(w.tenantTaints, taintKey(taint))
	}
	want := maps.Clone(w.tenantLabels)
	maps.Copy(want, w.host.Labels)
	if len(want) != len(w.virtual.Labels) || len(want) > 0 && !maps.Equal(want, w.virtual.Labels) {
		t.Fatalf("labels (-want +got):\n%s", cmp.Diff(want, w.virtual.Labels))
	}
	taints := maps.Clone(w.tenantTaints)
	for _, taint := range w.host.Spec.Taints {
		taints[taintKey(taint)] = taint
	}
	got := map[string]corev1.Taint{}
	for _, taint := range w.virtual.Spec.Taints {
		got[taintKey(taint)] = taint
	}
	if len(got) != len(w.virtual.Spec.Taints) || !maps.Equal(taints, got) {
		t.Fatalf("taints (-want +got):\n%s", cmp.Diff(taints, got))
	}
	if want := w.host.Spec.Unschedulable || w.cordoned; w.virtual.Spec.Unschedulable != want {
		t.Fatalf("unschedulable is %v, host %v, tenant %v", w.virtual.Spec.Unschedulable, w.host.Spec.Unschedulable, w.cordoned)
	}
	w.seen, w.shown = w.host.DeepCopy(), w.virtual.DeepCopy()
}

func TestOverlayProperties(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := newTwoWriters()
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "who") {
				w.hostWrites(t)
			} else {
				w.tenantWrites(t)
			}
			if rapid.IntRange(0, 3).Draw(t, "sync") > 0 {
				w.sync(t)
				again := w.virtual.DeepCopy()
				if err := nodeUp(w.host.DeepCopy(), again, true); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(w.virtual, again); diff != "" {
					t.Fatalf("a second look finds something to write:\n%s", diff)
				}
			}
		}
	})
}

func TestOverlaySurvivesEditedRecord(t *testing.T) {
	t.Parallel()
	w := newTwoWriters()
	w.host.Labels = map[string]string{"disk": "ssd"}
	w.virtual.Labels = map[string]string{"mine": "stays"}
	w.virtual.Annotations = map[string]string{labels.Agreed: "{broken"}
	if err := nodeUp(w.host, w.virtual, true); err != nil {
		t.Fatalf("a record that a tenant has spoiled must not stop the node: %v", err)
	}
	if diff := cmp.Diff(map[string]string{"disk": "ssd", "mine": "stays"}, w.virtual.Labels); diff != "" {
		t.Errorf("nothing is lost (-want +got):\n%s", diff)
	}
}
