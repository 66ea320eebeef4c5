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

	// maxGCPercent lets the heap of a small server grow to five times what lives
	// before garbage is collected. This halves the CPU that a pod costs.
	maxGCPercent = 400
	// startGCPercent holds during the start. Garbage between the objects of a start
	// leaves gaps on the heap that an idle server never fills. With 100 they are 5 MB
	// more, and the start takes 50 ms less CPU.
	startGCPercent = 75
	// settleTime is how long the start lasts after the server is ready: the objects of the
	// host come then. 1,000 nodes take 2 s.
	settleTime = 5 * time.Second
	// minGCPercent bounds the CPU that collections take from a server with many
	// objects.
	minGCPercent = 50
	// maxHeadroom is how far the heap of a busy server may grow beyond what lives, in bytes.
	// Above that, the process would need several times the memory of its objects.
	maxHeadroom = 160 * mib
	// fullHeap is the size from which the headroom shrinks as more lives, in bytes. The
	// heap of a busy server with many objects stays near it until minGCPercent holds.
	fullHeap = 256 * mib
	// burstHeadroom and burstHeap hold in place of maxHeadroom and fullHeap while a burst
	// lasts: collections would take a fifth of its CPU.
	burstHeadroom = 288 * mib
	burstHeap     = 320 * mib
	// burstTime is how long a server at work may use the memory of a burst.
	burstTime = time.Minute
	// quietHeadroom is the headroom after a quiet time. Each collection multiplies it by
	// wakeFactor: a scan now and then needs little, and a burst soon has all of it.
	quietHeadroom = 32 * mib
	wakeFactor    = 4
	// minChange is the smallest change of the percentage that is made. Each one
	// stops all goroutines for a moment.
	minChange = 10

	// memoryCheck is the time between two looks at the memory.
	memoryCheck = 10 * time.Second
	// quietAllocation is how much a quiet process allocates between two looks.
	quietAllocation = 16 * mib
	// worthwhile is how much memory a collection must be able to return.
	worthwhile = 8 * mib
)

// memoryKeeper bounds the memory of the process. After each collection it sets
// how far the heap may grow until the next one. While the server has little to
// do, it returns memory that the start or a busy time has left. Otherwise a
// quiet server would keep the memory of its busiest minute.
type memoryKeeper struct {
	clock   clock.Clock
	read    func() memoryUse
	release func()
	// setPercent sets GC percent.
	setPercent func(int)
	// ready is closed when the server is ready.
	ready <-chan struct{}
	// fixed is true if the operator has set GOGC, which then stays.
	fixed bool

	// follower follows the limit of the container, at each look.
	follower *memoryFollower

	allocated uint64 // by the last look

	mu          sync.Mutex
	started     bool // the start is over
	percent     int
	headroom    uint64    // while the server wakes from a quiet time
	quietUntil  time.Time // the last look that found it quiet, or the end of the start
	collections uint64    // by the last change of the headroom
}

// memoryUse is the runtime's account of its memory.
type memoryUse struct {
	// collections counts the garbage collections that nobody asked for.
	collections uint64
	// allocated is the sum of all that was ever allocated, in bytes.
	allocated uint64
	// heap is what heap objects occupy, dead ones included, and live what the
	// last collection left of it. free is what no object occupies and was not
	// returned yet. All in bytes.
	heap, live, free uint64
}

func newMemoryKeeper(ready <-chan struct{}, limit int64) *memoryKeeper {
	return &memoryKeeper{
		clock: clock.RealClock{}, read: readMemory, release: debug.FreeOSMemory,
		setPercent: func(percent int) { debug.SetGCPercent(percent) },
		fixed:      os.Getenv("GOGC") != "",
		ready:      ready,
		percent:    startGCPercent,
		headroom:   burstHeadroom,
		follower:   newMemoryFollower(limit),
	}
}

// Run looks at the memory until the context ends.
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
			k.follower.look()
			k.releaseIfQuiet()
		}
	}
}

// endStart lets the heap grow as it does after the start.
func (k *memoryKeeper) endStart() {
	k.mu.Lock()
	k.started, k.quietUntil = true, k.clock.Now()
	k.mu.Unlock()
	if !k.fixed {
		k.pace()
	}
}

// pace sets when the next collection starts, from what the last one left.
func (k *memoryKeeper) pace() {
	k.mu.Lock()
	defer k.mu.Unlock()
	use := k.read()
	if use.collections != k.collections {
		k.collections = use.collections
		k.headroom = min(wakeFactor*k.headroom, burstHeadroom)
	}
	k.setPace(use.live)
}

// setPace sets the GC percentage for a heap with so many live bytes.
func (k *memoryKeeper) setPace(live uint64) {
	percent := k.gcPercent(live)
	if change := percent - k.percent; change > -minChange && change < minChange {
		return
	}
	k.percent = percent
	k.setPercent(percent)
}

// gcPercent returns the GC percentage for a heap with so many live bytes.
func (k *memoryKeeper) gcPercent(live uint64) int {
	if !k.started {
		return min(gcPercent(live, maxHeadroom, fullHeap), startGCPercent)
	}
	if k.clock.Since(k.quietUntil) < burstTime {
		return gcPercent(live, k.headroom, burstHeap)
	}
	return gcPercent(live, min(k.headroom, maxHeadroom), fullHeap)
}

// gcPercent returns the GC percentage that lets a heap grow by headroom, or up to full if
// that is less.
func gcPercent(live, headroom, full uint64) int {
	headroom = min(headroom, max(full, live)-live)
	return int(min(max(headroom*100/max(live, 1), minGCPercent), maxGCPercent))
}

// releaseIfQuiet releases memory if the process has little to do and if that is
// worthwhile. A process at work would only take the memory again.
func (k *memoryKeeper) releaseIfQuiet() {
	use := k.read()
	quiet := use.allocated-k.allocated < quietAllocation
	k.allocated = use.allocated
	if !quiet {
		return
	}
	if !k.fixed {
		k.mu.Lock()
		k.headroom, k.quietUntil = quietHeadroom, k.clock.Now()
		k.setPace(use.live)
		k.mu.Unlock()
	}
	if use.heap-min(use.heap, use.live)+use.free > worthwhile {
		k.release()
	}
}

// sentinel is an object that dies in each collection.
type sentinel struct{ self *sentinel } //nolint:unused // an object without a pointer may share its memory, and its end

// afterCollections calls react after each garbage collection until the context
// ends. It costs nothing in between. react must be quick: it runs on the
// goroutine of all finalizers.
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
	}
	metrics.Read(samples)
	return memoryUse{
		collections: samples[0].Value.Uint64(),
		heap:        samples[1].Value.Uint64(),
		live:        samples[2].Value.Uint64(),
		free:        samples[3].Value.Uint64(),
		allocated:   samples[4].Value.Uint64(),
	}
}
