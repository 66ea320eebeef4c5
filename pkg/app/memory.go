package app

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

const (
	mib = 1 << 20

	// maxGCPercent lets the heap of a small server grow to five times its live objects before
	// a collection. This halves the CPU that a pod costs.
	maxGCPercent = 400
	// startGCPercent is the GC percentage during the start. Garbage between the long-lived
	// objects of a start leaves gaps that an idle server never fills. 100 would save 50 ms of
	// CPU and cost 5 MB of such gaps.
	startGCPercent = 75
	// settleTime is how long the start lasts after the server is ready. The first lists of
	// host objects arrive then. 1,000 nodes take 2 s.
	settleTime = 5 * time.Second
	// minGCPercent bounds the CPU that collections cost a server with many objects.
	minGCPercent = 50
	// maxHeadroom is how far the heap of a busy server may grow beyond its live objects, in
	// bytes. With much less, collections would take a fifth of the CPU of a burst.
	maxHeadroom = 288 * mib
	// fullMemory is what the process should not exceed, in bytes: live objects, headroom, stacks, and the
	// gaps between objects. The headroom shrinks to keep it, but not below minGCPercent.
	fullMemory = 350 * mib
	// quietHeadroom is the headroom after a quiet time. Each collection multiplies it by
	// wakeFactor. So an occasional scan gets little, and a burst soon gets maxHeadroom.
	quietHeadroom = 32 * mib
	wakeFactor    = 4
	// minChange is the smallest change of the GC percentage that is applied. Each change
	// stops the world for a moment.
	minChange = 10

	// memoryCheck is the time between two checks of the memory.
	memoryCheck = 10 * time.Second
	// quietAllocation is how many bytes a quiet process allocates at most between two checks.
	quietAllocation = 16 * mib
	// worthwhile is how many bytes must be reclaimable for a forced collection.
	worthwhile = 8 * mib
)

// memoryKeeper tunes the garbage collector. After each collection it sets how far the heap may
// grow until the next one. While the server is quiet, it returns memory of the start or of a
// busy time to the operating system. Without that, a quiet server would keep the memory of its
// busiest minute.
type memoryKeeper struct {
	clock   clock.Clock
	read    func() memoryUse
	release func() // forces a collection and returns memory to the operating system
	// setPercent sets the GC percentage.
	setPercent func(int)
	// ready is closed when the server is ready.
	ready <-chan struct{}
	// fixed is true if the operator has set GOGC, which takes precedence.
	fixed bool

	// follower is updated at each check.
	follower *memoryFollower

	allocated uint64 // memoryUse.allocated at the last check

	mu          sync.Mutex
	started     bool   // the start is over
	percent     int    // the current GC percentage
	headroom    uint64 // grows from quietHeadroom to maxHeadroom after a quiet time
	collections uint64 // memoryUse.collections at the last change of headroom
}

// memoryUse is the runtime's account of its memory.
type memoryUse struct {
	// collections counts automatic garbage collections.
	collections uint64
	// allocated counts all bytes that were ever allocated.
	allocated uint64
	// heap is the size of all heap objects, including dead ones. live is the size of those that
	// the last collection left. free is memory without objects that was not returned to the
	// operating system. All are in bytes.
	heap, live, free uint64
	// overhead is other memory of the process, such as stacks and gaps between objects, in bytes.
	overhead uint64
}

func newMemoryKeeper(ready <-chan struct{}, limit int64) *memoryKeeper {
	return &memoryKeeper{
		clock: clock.RealClock{}, read: readMemory, release: debug.FreeOSMemory,
		setPercent: func(percent int) { debug.SetGCPercent(percent) },
		fixed:      os.Getenv("GOGC") != "",
		ready:      ready,
		percent:    startGCPercent,
		headroom:   maxHeadroom,
		follower:   newMemoryFollower(limit),
	}
}

// Run tunes the garbage collector until the context ends.
func (k *memoryKeeper) Run(ctx context.Context) error {
	if !k.fixed {
		afterCollections(ctx, k.pace)
	}
	ready, settled := k.ready, (<-chan time.Time)(nil)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ready:
			ready, settled = nil, k.clock.After(settleTime)
		case <-settled:
			settled = nil
			k.endStart()
		case <-k.clock.After(memoryCheck):
			k.follower.update()
			k.releaseIfQuiet()
		}
	}
}

// endStart applies the rules for a running server instead of those for the start.
func (k *memoryKeeper) endStart() {
	k.mu.Lock()
	k.started = true
	k.mu.Unlock()
	if !k.fixed {
		k.pace()
	}
}

// pace sets when the next collection starts, depending on what the last one left.
func (k *memoryKeeper) pace() {
	k.mu.Lock()
	defer k.mu.Unlock()
	use := k.read()
	if use.collections != k.collections {
		k.collections = use.collections
		k.headroom = min(wakeFactor*k.headroom, maxHeadroom)
	}
	k.setPace(use)
}

// setPace sets the GC percentage. The caller holds the lock.
func (k *memoryKeeper) setPace(use memoryUse) {
	percent := k.gcPercent(use)
	if change := percent - k.percent; change > -minChange && change < minChange {
		return
	}
	k.percent = percent
	k.setPercent(percent)
}

// gcPercent returns the GC percentage for a process that uses that much. The caller holds the lock.
func (k *memoryKeeper) gcPercent(use memoryUse) int {
	used := use.live + use.overhead
	headroom := min(k.headroom, max(fullMemory, used)-used)
	percent := int(min(max(headroom*100/max(use.live, 1), minGCPercent), maxGCPercent))
	if !k.started {
		return min(percent, startGCPercent)
	}
	return percent
}

// releaseIfQuiet releases memory if the process is quiet and enough memory is reclaimable. A
// busy process would soon need the memory again.
func (k *memoryKeeper) releaseIfQuiet() {
	use := k.read()
	quiet := use.allocated-k.allocated < quietAllocation
	k.allocated = use.allocated
	if !quiet {
		return
	}
	if !k.fixed {
		k.mu.Lock()
		k.headroom = quietHeadroom
		k.setPace(use)
		k.mu.Unlock()
	}
	if use.heap-min(use.heap, use.live)+use.free > worthwhile {
		k.release()
	}
}

// sentinel is an object whose finalizer runs at the next collection.
type sentinel struct{ self *sentinel } //nolint:unused // An object without pointers may share a block, which delays its finalizer.

// afterCollections calls react after each garbage collection until the context ends. It costs
// nothing in between. react must be quick, because it runs on the goroutine of all finalizers.
func afterCollections(ctx context.Context, react func()) {
	var arm func()
	arm = func() {
		runtime.SetFinalizer(&sentinel{}, func(*sentinel) {
			if ctx.Err() != nil {
				return
			}
			react()
			arm()
		})
	}
	arm()
}

func readMemory() memoryUse {
	samples := []metrics.Sample{
		{Name: "/gc/cycles/automatic:gc-cycles"},
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/heap/free:bytes"},
		{Name: "/gc/heap/allocs:bytes"},
		{Name: "/memory/classes/total:bytes"},
		{Name: "/memory/classes/heap/released:bytes"},
	}
	metrics.Read(samples)
	use := memoryUse{
		collections: samples[0].Value.Uint64(),
		heap:        samples[1].Value.Uint64(),
		live:        samples[2].Value.Uint64(),
		free:        samples[3].Value.Uint64(),
		allocated:   samples[4].Value.Uint64(),
	}
	use.overhead = samples[5].Value.Uint64() - samples[6].Value.Uint64() - use.heap - use.free
	return use
}
