package syncer

import (
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
)

// TestPauseNeitherCreatesNorEnds pauses a kind at each reason to create, delete or end.
func TestPauseNeitherCreatesNorEnds(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		kind          Kind
		virtual, host client.Object
	}{
		"Create":      {kind: pods(), virtual: virtualPod(func(p *corev1.Pod) { p.Spec.NodeName = "" })},
		"Lost":        {kind: pods(), virtual: virtualPod()},
		"Evicted":     {kind: pods(), virtual: virtualPod(), host: hostPod(withGrace(7))},
		"Ended":       {kind: pods(), virtual: virtualPod(withGrace(5))},
		"EndedHeld":   {kind: pods(), virtual: virtualPod(withGrace(0), withFinalizer)},
		"Orphan":      {kind: pods(), host: hostPod()},
		"Predecessor": {kind: pods(), virtual: virtualPod(), host: hostPod(func(p *corev1.Pod) { p.Annotations[labels.VirtualUID] = "v0" })},
		"Deleted":     {kind: pods(), virtual: virtualPod(withGrace(5)), host: hostPod()},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := clocktesting.NewFakeClock(testStart())
			b := newBenchOf(tc.kind, c, tc.virtual, tc.host)
			b.paused.Store(true)
			var held *onHoldError
			if _, err := b.reconcile(t.Context(), theKey()); !errors.As(err, &held) {
				t.Errorf("A paused kind must put it on hold, got %v", err)
			}
			if writes := append(writesOf(b.virtualServer), writesOf(b.hostServer)...); len(writes) > 0 {
				t.Errorf("A paused kind must not write, got %v", writes)
			}
			b.paused.Store(false)
			if _, err := b.reconcile(t.Context(), theKey()); err != nil {
				t.Errorf("After the pause it goes on, got %v", err)
			}
			if writes := append(writesOf(b.virtualServer), writesOf(b.hostServer)...); len(writes) == 0 {
				t.Error("After the pause it goes on, nothing was written")
			}
		})
	}
}

// TestSleepAndWake removes the host pod of a running pod on purpose, as a virtual cluster
// that sleeps does, and wakes it in another process.
func TestSleepAndWake(t *testing.T) {
	t.Parallel()
	c := clocktesting.NewFakeClock(testStart())
	virtual, host := newFakeServer("virtual", c, virtualPod()), newFakeServer("host", c, hostPod())
	b := newBench(pods(), c, virtual, host)

	b.paused.Store(true)
	asleep := virtual.get(&corev1.Pod{}, theKey())
	MarkRemoved(asleep)
	if err := virtual.Update(t.Context(), asleep); err != nil {
		t.Fatal(err)
	}
	host.removeNow(hostPod())
	b.refresh()
	_, _ = b.reconcile(t.Context(), theKey())
	if pod := virtual.get(&corev1.Pod{}, theKey()); pod == nil || isTerminating(pod) {
		t.Fatal("A pod that sleeps must stay")
	}

	b = newBench(pods(), c, virtual, host)
	if err := b.reconcileUntilQuiet(t, theKey()); err != nil {
		t.Fatal(err)
	}
	pod := virtual.get(&corev1.Pod{}, theKey())
	if pod == nil || pod.GetUID() != "v1" || len(host.list(&corev1.Pod{}, labelsEverything())) != 1 {
		t.Fatal("A pod that wakes must be the same pod with a new copy")
	}
	if IsRemoved(pod) {
		t.Error("The mark must go with the new copy")
	}
	bound := host.get(&corev1.Pod{}, client.ObjectKeyFromObject(hostPod())).(*corev1.Pod)
	bound.Spec.NodeName = "n2"
	host.add(bound)
	if err := b.reconcileUntilQuiet(t, theKey()); err != nil {
		t.Fatal(err)
	}
	host.removeNow(bound)
	b.refresh()
	if _, err := b.reconcile(t.Context(), theKey()); err != nil || virtual.get(&corev1.Pod{}, theKey()) != nil {
		t.Errorf("A pod that is awake and loses its copy must end, got %v", err)
	}
}

func TestMarkOfAnotherPodMeansNothing(t *testing.T) {
	t.Parallel()
	pod := virtualPod(func(p *corev1.Pod) { p.Annotations = map[string]string{labels.Removed: "v0"} })
	if IsRemoved(pod) {
		t.Error("An annotation that was copied from another pod must mean nothing")
	}
}

// TestPauseOfKinds pauses kinds of an engine by name.
func TestPauseOfKinds(t *testing.T) {
	t.Parallel()
	e, _, _ := firstBench(t)
	e.Pause("services", "unknown")
	if !e.runners["services"].paused.Load() || e.runners["nodes"].paused.Load() {
		t.Error("Only the kinds that are named may be paused")
	}
	e.Resume("services")
	if e.runners["services"].paused.Load() {
		t.Error("A kind that is resumed must not be paused")
	}
}
