package app

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"k8s.io/utils/clock"
)

const (
	// gcPercent lets the heap grow to five times what lives before garbage is
	// collected. While the server works, this halves the CPU that a pod costs.
	gcPercent = 400
	// memoryCheck is the time between two looks at the memory.
	memoryCheck = 20 * time.Second
	// worthwhile is how much memory a collection must be able to give back.
	worthwhile = 8 << 20
)

// memoryKeeper gives memory back to the machine while the server has little to
// do: what the start or a busy time has left. Without it, the memory of a quiet
// server would be that of its busiest minute.
type memoryKeeper struct {
	clock   clock.Clock
	read    func() memoryUse
	release func()

	collections uint64
}

// memoryUse is what the runtime says of its memory.
type memoryUse struct {
	// collections counts the garbage collections that nobody asked for.
	collections uint64
	// heap is what a heap object occupies, dead ones included, and live what the
	// last collection left of it. free is what no object occupies and the machine
	// has not back yet. All in bytes.
	heap, live, free uint64
}

func newMemoryKeeper() *memoryKeeper {
	return &memoryKeeper{clock: clock.RealClock{}, read: readMemory, release: debug.FreeOSMemory}
}

// Run looks at the memory now and then.
func (k *memoryKeeper) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-k.clock.After(memoryCheck):
			k.look()
		}
	}
}

// look releases memory if that is worthwhile. A process whose garbage has just
// been collected is at work and would only take the memory again.
func (k *memoryKeeper) look() {
	use := k.read()
	quiet := use.collections == k.collections
	k.collections = use.collections
	if quiet && use.heap-min(use.heap, use.live)+use.free > worthwhile {
		k.release()
	}
}

func readMemory() memoryUse {
	samples := []metrics.Sample{
		{Name: "/gc/cycles/automatic:gc-cycles"},
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/heap/free:bytes"},
	}
	metrics.Read(samples)
	return memoryUse{
		collections: samples[0].Value.Uint64(),
		heap:        samples[1].Value.Uint64(),
		live:        samples[2].Value.Uint64(),
		free:        samples[3].Value.Uint64(),
	}
}
