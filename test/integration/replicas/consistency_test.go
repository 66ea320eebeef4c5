package replicas

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/sublet-dev/sublet/test/consistency"
)

// leastWrites is how many writes of each workload must succeed before the check. A check of
// nothing would succeed.
const leastWrites = 50

// checkLimit bounds the search for an order of the requests.
const checkLimit = patience

// TestConsistencyOfOne checks a cluster of one replica, with a store of its own.
func TestConsistencyOfOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{replicas: 1})
	w.checkConsistency(t, *faultTime, kill(), pause(), cutHost(w))
}

// checkConsistency runs the workloads under faults for some time, and checks what they have
// seen once all replicas are ready again.
func (w *world) checkConsistency(t *testing.T, broken time.Duration, faults ...fault) {
	t.Helper()
	t.Logf("run again with -seed=%d -faults=%v", *seed, *faultTime)
	o := consistency.Options{Pick: w.pick, Seed: *seed}
	registers, set, watches := consistency.NewRegisters(o), consistency.NewSet("element", o), consistency.NewWatches("element", o)
	ctx, cancel := context.WithTimeout(t.Context(), broken+4*patience)
	defer cancel()
	if err := registers.Prepare(ctx); err != nil {
		t.Fatal(err)
	}
	terms, pods := w.watchTerms(t), w.watchPods(t)
	faulty, end := context.WithTimeout(t.Context(), broken+patience)
	defer end()
	// A busy machine needs longer for enough writes.
	go endAfter(faulty, broken, end, func() bool {
		return min(registers.Outcomes().Acknowledged, set.Outcomes().Acknowledged) >= leastWrites && pods.acknowledged() >= leastPods
	})
	var clients sync.WaitGroup
	clients.Go(func() { registers.Run(faulty) })
	clients.Go(func() { set.Run(faulty) })
	clients.Go(func() { watches.Run(faulty) })
	clients.Go(func() { w.createPods(faulty, t, pods) })
	w.breakThings(faulty, t, faults, rand.New(rand.NewPCG(*seed, 0)))
	clients.Wait()
	w.awaitReady(t, w.replicas)
	if err := set.Finish(ctx); err != nil {
		t.Fatal(err)
	}
	if err := watches.Finish(ctx); err != nil {
		t.Fatal(err)
	}
	if err := registers.Check(checkLimit); err != nil {
		t.Errorf("registers: %v", err)
	}
	if err := set.Check(); err != nil {
		t.Errorf("set: %v", err)
	}
	if err := watches.Check(set); err != nil {
		t.Errorf("watches: %v", err)
	}
	t.Logf("registers: %+v; set: %+v; watches: %s", registers.Outcomes(), set.Outcomes(), watches)
	if min(registers.Outcomes().Acknowledged, set.Outcomes().Acknowledged) < leastWrites {
		t.Errorf("fewer than %d writes were acknowledged", leastWrites)
	}
	pods.check(t)
	w.checkTerms(t, terms)
}

// endAfter calls end after a time, and once isEnough holds. It returns when ctx has ended.
func endAfter(ctx context.Context, least time.Duration, end func(), isEnough func() bool) {
	defer end()
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for begin := time.Now(); time.Since(begin) < least || !isEnough(); {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
