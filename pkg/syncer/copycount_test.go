package syncer

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestEventsOfTheHostCorrectTheLedger lets a kind see what happens to copies on the host.
func TestEventsOfTheHostCorrectTheLedger(t *testing.T) {
	t.Parallel()
	b := newRunnerBench(t)
	freed := 0
	b.runner.reconciler.ledger, b.runner.reconciler.copyResource = newCopyLedger(ObjectLimits{}), "configmaps"
	b.runner.reconciler.ledger.onFreed = func(string) { freed++ }
	h := &handler{runner: b.runner, ctx: t.Context(), side: Host, own: true, keys: b.originKey}
	small := hostMap("v1", func(m *corev1.ConfigMap) { m.ResourceVersion = "1" })
	large := hostMap("v1", func(m *corev1.ConfigMap) {
		m.ResourceVersion = "2"
		m.Data = map[string]string{"k": string(slices.Repeat([]byte("x"), 8<<10))}
	})
	for _, c := range []struct {
		reason string
		event  func()
		count  int64
		bytes  int64
		freed  int
	}{
		{"a copy is there", func() { h.OnAdd(small, true) }, 1, sizeOf(small), 0},
		{"it grows", func() { h.OnUpdate(small, large) }, 1, sizeOf(large), 0},
		{"it shrinks, and others have room", func() {
			h.OnUpdate(large, hostMap("v1", func(m *corev1.ConfigMap) { m.ResourceVersion = "3" }))
		}, 1, sizeOf(hostMap("v1", func(m *corev1.ConfigMap) { m.ResourceVersion = "3" })), 1},
		{"it is gone", func() { h.OnDelete(small) }, 0, 0, 2},
		{"a list lacks it", func() {
			h.OnAdd(small, false)
			h.OnDelete(toolscache.DeletedFinalStateUnknown{Key: client.ObjectKeyFromObject(small).String(), Obj: small})
		}, 0, 0, 3},
	} {
		c.event()
		want := Usage{Resource: "configmaps", Count: c.count, Bytes: c.bytes}
		if diff := cmp.Diff([]Usage{want}, b.runner.reconciler.ledger.usage()); diff != "" || freed != c.freed {
			t.Errorf("%s: others were let to try %d times, want %d (-want +got):\n%s", c.reason, freed, c.freed, diff)
		}
	}
	virtual := &handler{runner: b.runner, ctx: t.Context(), side: Virtual, own: true, keys: b.ownKey}
	virtual.OnAdd(virtualMap(), false)
	if got := b.runner.reconciler.ledger.usage()[0].Count; got != 0 {
		t.Errorf("a virtual object counts as a copy: %d", got)
	}
}

func TestFinishedPodsLetRefusedOnesTry(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		reason string
		phase  corev1.PodPhase
		want   bool
	}{
		{"a quota counts a finished pod no more", corev1.PodSucceeded, true},
		{"nor a failed one", corev1.PodFailed, true},
		{"a running one counts", corev1.PodRunning, false},
	} {
		pod := hostPod(func(p *corev1.Pod) { p.Status.Phase = c.phase })
		if got := isFinishedPod(pod); got != c.want {
			t.Errorf("%s: %s is finished: %t", c.reason, c.phase, got)
		}
	}
	if isFinishedPod(hostMap("v1")) {
		t.Error("a ConfigMap is no finished pod")
	}
}
