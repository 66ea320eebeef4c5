package syncer

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// newCopiedMap returns a bench with a ConfigMap that has its copy on the host.
func newCopiedMap(t *testing.T, c *clocktesting.FakeClock) (b *bench, virtual, host *fakeServer) {
	t.Helper()
	virtual, host = newFakeServer("virtual", c, virtualMap()), newFakeServer("host", c)
	b = newBench(configMaps(), c, virtual, host)
	if err := b.reconcileUntilQuiet(t, theKey()); err != nil {
		t.Fatal(err)
	}
	return b, virtual, host
}

// TestContestedCopy lets a controller of the host undo each change of a copy. The engine repeats it
// less and less, and writes another change of the tenant at once.
func TestContestedCopy(t *testing.T) {
	t.Parallel()
	c := clocktesting.NewFakeClock(testStart())
	b, virtual, host := newCopiedMap(t, c)
	hostKey := translate.Hashed(testCluster(), theKey())
	getCopy := func() *corev1.ConfigMap { return host.get(&corev1.ConfigMap{}, hostKey).(*corev1.ConfigMap) }
	reconcileUndone := func(undo string) (bool, time.Duration) {
		t.Helper()
		object := getCopy()
		object.Data = map[string]string{"k": undo}
		host.add(object)
		b.refresh()
		again, err := b.reconcile(t.Context(), theKey())
		if err != nil {
			t.Fatal(err)
		}
		b.refresh()
		return getCopy().Data["k"] != undo, again
	}
	for i := range quickContests + 1 {
		if ok, _ := reconcileUndone("undone"); !ok {
			t.Fatalf("the first changes must not wait, and number %d does", i)
		}
	}
	for _, pause := range []time.Duration{firstAlteredPause, 2 * firstAlteredPause, 4 * firstAlteredPause} {
		if ok, again := reconcileUndone("undone"); ok || again != pause {
			t.Errorf("written: %t, again after %s, want %s", ok, again, pause)
		}
		c.Step(pause)
		if ok, _ := reconcileUndone("undone"); !ok {
			t.Errorf("after %s nothing was written", pause)
		}
	}
	changed := virtual.get(&corev1.ConfigMap{}, theKey()).(*corev1.ConfigMap)
	changed.Data = map[string]string{"k": "news"}
	virtual.add(client.Object(changed))
	if ok, _ := reconcileUndone("undone"); !ok || getCopy().Data["k"] != "news" {
		t.Errorf("another change must not wait, got %v", getCopy().Data)
	}
}

// TestHostFirstIsNoContest writes a copy host-first again and again. Each time the engine removes the
// annotation of that write, which is the same change, and must not wait.
func TestHostFirstIsNoContest(t *testing.T) {
	t.Parallel()
	c := clocktesting.NewFakeClock(testStart())
	b, virtual, host := newCopiedMap(t, c)
	hostKey := translate.Hashed(testCluster(), theKey())
	for i := range quickContests + 3 {
		object := host.get(&corev1.ConfigMap{}, hostKey).(*corev1.ConfigMap)
		translate.SetAnnotation(object, labels.Awaits, "1")
		host.add(object)
		changed := virtual.get(&corev1.ConfigMap{}, theKey())
		virtual.add(changed) // The virtual object is stored too, with a later version.
		b.refresh()
		if err := b.reconcileUntilQuiet(t, theKey()); err != nil {
			t.Fatal(err)
		}
		if host.get(&corev1.ConfigMap{}, hostKey).GetAnnotations()[labels.Awaits] != "" {
			t.Fatalf("after write %d the annotation stays", i)
		}
	}
}
