package syncer

import (
	"context"
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// scanUntilReturned runs a scan in time that passes by itself, and returns how long it took.
func (b *runnerBench) scanUntilReturned(ctx context.Context, t *testing.T) time.Duration {
	t.Helper()
	start, returned := b.clock.Now(), make(chan struct{})
	go func() {
		defer close(returned)
		b.scan(ctx)
	}()
	deadline := time.After(awaitTimeout)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-returned:
			return b.clock.Since(start)
		case <-deadline:
			t.Fatalf("A scan of a busy kind must end, it has taken %s", b.clock.Since(start))
		case <-tick.C:
			b.clock.Step(time.Second)
		}
	}
}

// TestScanLeavesABusyKind keeps the queue of a kind long, as a tenant can. The scan must come to the next
// kind, and to this one once it has time.
func TestScanLeavesABusyKind(t *testing.T) {
	t.Parallel()
	b := newRunnerBench(t)
	b.virtualServer.add(virtualMap())
	b.refresh()
	for i := range scanAhead + 1 {
		b.enqueue(types.NamespacedName{Namespace: "busy", Name: fmt.Sprint(i)})
	}
	if took := b.scanUntilReturned(t.Context(), t); took < scanPatience {
		t.Errorf("The queue may be long for a moment, the scan has waited for %s", took)
	}
	if b.isScanned() {
		t.Error("No scan makes a long queue longer")
	}
	for range scanAhead + 1 {
		b.step(t)
	}
	b.scan(t.Context())
	if !b.isScanned() {
		t.Error("The next scan must come to the objects that were left")
	}
}

// TestScanWaitsForAShortQueue makes a queue long for a moment.
func TestScanWaitsForAShortQueue(t *testing.T) {
	t.Parallel()
	b := newRunnerBench(t)
	for i := range scanAhead + 1 {
		b.enqueue(types.NamespacedName{Namespace: "busy", Name: fmt.Sprint(i)})
	}
	patience, waited := scanPatience, make(chan time.Duration)
	go func() {
		took, ok := b.awaitShortQueue(t.Context(), patience)
		if !ok {
			took = -1
		}
		waited <- took
	}()
	b.step(t)
	for deadline := time.After(awaitTimeout); ; {
		select {
		case took := <-waited:
			if took < 0 || took >= patience {
				t.Errorf("The scan must go on with a short queue, got %s", took)
			}
			return
		case <-deadline:
			t.Fatal("The scan does not see that the queue is short")
		case <-time.After(time.Millisecond):
			b.clock.Step(scanPause)
		}
	}
}

// isScanned reports whether a scan has queued the object of the tests.
func (b *runnerBench) isScanned() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.scanned[theKey()]
}
