package app

import (
	"fmt"
	"math"
	"os"
	"runtime/debug"
	"sync"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/component-base/metrics"
	"k8s.io/klog/v2"

	"github.com/sublet-dev/sublet/pkg/cgroup"
	"github.com/sublet-dev/sublet/pkg/meter"
)

// memoryShare is the part of the container's memory limit, in percent, that the
// garbage collector aims to stay below. The rest is for what it does not count:
// stacks of the kernel, mapped files of the store, and garbage that is in the way.
const memoryShare = 85

// memoryTolerance is the largest change of the limit that is ignored, in bytes. The kernel
// rounds the limit of a container.
const memoryTolerance = 1 << 20

// memoryFollower makes the limit of the garbage collector follow the memory limit of the
// container, which can be resized while it runs.
type memoryFollower struct {
	// read returns the limit of the container in bytes, 0 if there is none.
	read func() int64
	// set sets the limit of the garbage collector.
	set func(int64)
	// fixed is true if the operator has set GOMEMLIMIT, which then stays.
	fixed bool

	limit int64 // of the container, as last seen; 0 means none
}

// newMemoryFollower returns a follower of the container's limit. known is the limit
// that the garbage collector got at the start, 0 if it got none.
func newMemoryFollower(known int64) *memoryFollower {
	containerLimit().Set(float64(known))
	return &memoryFollower{
		read:  func() int64 { return cgroup.MemoryLimit("/") },
		set:   func(limit int64) { debug.SetMemoryLimit(limit) },
		fixed: os.Getenv("GOMEMLIMIT") != "",
		limit: known,
	}
}

// containerLimit is the metric of the memory limit.
var containerLimit = sync.OnceValue(func() *metrics.Gauge { //nolint:gochecknoglobals // a metric is one per process
	return meter.Gauge("sublet_memory_limit_bytes",
		"Memory limit of the container that the garbage collector and the store follow. 0 means none.")
})

// look sets the limit of the garbage collector if that of the container has changed.
func (f *memoryFollower) look() {
	limit := f.read()
	if change := limit - f.limit; f.fixed || change > -memoryTolerance && change < memoryTolerance {
		return
	}
	klog.InfoS("The memory limit of the container has changed", "from", f.limit, "to", limit)
	f.limit = limit
	containerLimit().Set(float64(limit))
	if limit == 0 {
		f.set(math.MaxInt64)
		return
	}
	f.set(collectorLimit(limit))
}

// setMemoryLimit sets the limit of the garbage collector from the memory limit of
// the container in MEMORY_LIMIT, in bytes. It returns that one. It does nothing and returns
// 0 without one, or if GOMEMLIMIT is set.
func setMemoryLimit() (int64, error) {
	text := os.Getenv("MEMORY_LIMIT")
	if text == "" || os.Getenv("GOMEMLIMIT") != "" {
		return 0, nil
	}
	limit, err := memoryLimit(text)
	if err != nil {
		return 0, err
	}
	debug.SetMemoryLimit(collectorLimit(limit))
	return limit, nil
}

// collectorLimit returns the limit of the garbage collector for a container.
func collectorLimit(limit int64) int64 { return limit / 100 * memoryShare }

// memoryLimit parses the limit of a container.
func memoryLimit(text string) (int64, error) {
	quantity, err := resource.ParseQuantity(text)
	if err != nil || quantity.Sign() <= 0 {
		return 0, fmt.Errorf("cannot use MEMORY_LIMIT %q: it must be an amount of memory", text)
	}
	return quantity.Value(), nil
}
