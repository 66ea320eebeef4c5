package app

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"k8s.io/utils/clock"
)

const (
	mib = 1 << 20

	// maxGCPercent lets the heap of a small server grow to five times what lives
	// before garbage is collected. This halves the CPU that a pod costs.
	maxGCPercent = 400
	// startGCPercent holds until the server is ready. Garbage between the objects
	// of a start leaves gaps on the heap that an idle server never fills.
	startGCPercent = 100
	// minGCPercent bounds the CPU that collections take from a server with many
	// objects.
	minGCPercent = 50
	// headroom is how far the heap may grow beyond what lives, in bytes. Above
	// that, the process would need several times the memory of its objects.
	headroom = 160 * mib
	// minChange is the smallest change of the percentage that is made. Each one
	// stops all goroutines for a moment.
	minChange = 10

	// memoryCheck is the time between two looks at the memory.
	memoryCheck = 20 * time.Second
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
	// ready is closed when the start is over.
	ready <-chan struct{}
	// fixed is true if the operator has set GOGC, which then stays.
	fixed bool

	percent     int
	collections uint64
}

// memoryUse is the runtime's account of its memory.
type memoryUse struct {
	// collections counts the garbage collections that nobody asked for.
	collections uint64
	// heap is what heap objects occupy, dead ones included, and live what the
	// last collection left of it. free is what no object occupies and was not
	// returned yet. All in bytes.
	heap, live, free uint64
}

func newMemoryKeeper(ready <-chan struct{}) *memoryKeeper {
	return &memoryKeeper{
		clock: clock.RealClock{}, read: readMemory, release: debug.FreeOSMemory,
		setPercent: func(percent int) { debug.SetGCPercent(percent) },
		fixed:      os.Getenv("GOGC") != "",
		ready:      ready,
		percent:    startGCPercent,
	}
}

// Run looks at the memory until the context ends.
func (k *memoryKeeper) Run(ctx context.Context) error {
	if !k.fixed {
		afterCollections(ctx, k.pace)
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-k.clock.After(memoryCheck):
			k.releaseIfQuiet()
		}
	}
}

// pace sets when the next collection starts, from what the last one left.
func (k *memoryKeeper) pace() {
	percent := gcPercent(k.read().live)
	select {
	case <-k.ready:
	default:
		percent = min(percent, startGCPercent)
	}
	if change := percent - k.percent; change > -minChange && change < minChange {
		return
	}
	k.percent = percent
	k.setPercent(percent)
}

// gcPercent returns the GC percentage for a heap with so many live bytes.
func gcPercent(live uint64) int {
	return int(min(max(headroom*100/max(live, 1), minGCPercent), maxGCPercent))
}

// releaseIfQuiet releases memory if that is worthwhile. A process whose garbage
// has just been collected is at work and would only take the memory again.
func (k *memoryKeeper) releaseIfQuiet() {
	use := k.read()
	quiet := use.collections == k.collections
	k.collections = use.collections
	if quiet && use.heap-min(use.heap, use.live)+use.free > worthwhile {
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
	}
	metrics.Read(samples)
	return memoryUse{
		collections: samples[0].Value.Uint64(),
		heap:        samples[1].Value.Uint64(),
		live:        samples[2].Value.Uint64(),
		free:        samples[3].Value.Uint64(),
	}
}
