package syncer

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestInterruptedDeletion checks that the syncer deletes a host pod whose deletion the host
// has begun and will not finish. It deletes nothing that is about to go by itself.
func TestInterruptedDeletion(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		reason  string
		virtual client.Object
		host    client.Object
		deleted bool
	}{
		"Unwanted":    {reason: "Its virtual pod waits for a new copy.", virtual: virtualPod(), host: hostPod(withGrace(0)), deleted: true},
		"Terminating": {reason: "Its virtual pod is to end with it.", virtual: virtualPod(withGrace(0)), host: hostPod(withGrace(0)), deleted: true},
		"Orphan":      {reason: "Its virtual pod is gone.", host: hostPod(withGrace(0)), deleted: true},
		"Kubelet":     {reason: "A kubelet ends it.", virtual: virtualPod(withGrace(30)), host: hostPod(withGrace(30))},
		"Finalizer": {
			reason: "Somebody on the host keeps it.", virtual: virtualPod(withGrace(0)),
			host: hostPod(withGrace(0), func(p *corev1.Pod) { p.Finalizers = []string{"example.com/keep"} }),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			clock := clocktesting.NewFakeClock(testStart())
			virtual, host := newFakeServer("virtual", clock), newFakeServer("host", clock)
			if c.virtual != nil {
				virtual.add(c.virtual)
			}
			host.add(c.host)
			b := newBench(pods(), clock, virtual, host)
			again, err := b.reconcile(t.Context(), theKey())
			if err != nil {
				t.Fatal(err)
			}
			gone := func() bool { return host.get(&corev1.Pod{}, client.ObjectKeyFromObject(c.host)) == nil }
			if gone() || c.deleted && again != interruptedLife {
				t.Fatalf("%s The host has time to finish; gone %t, looks again after %s", c.reason, gone(), again)
			}
			clock.Step(interruptedLife)
			b.refresh()
			if _, err := b.reconcile(t.Context(), theKey()); err != nil {
				t.Fatal(err)
			}
			if gone() != c.deleted {
				t.Errorf("%s Gone: %t, want %t", c.reason, gone(), c.deleted)
			}
		})
	}
}
