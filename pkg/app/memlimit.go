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

// memoryShare is the part of the container's memory limit, in percent, that the garbage
// collector gets as its own limit. The rest is for memory that it does not count: kernel stacks,
// mapped files of the store, and heap fragmentation.
const memoryShare = 85

// memoryTolerance is the largest change of the limit, in bytes, that is ignored. The kernel
// rounds the limit of a container.
const memoryTolerance = 1 << 20

// memoryFollower updates the garbage collector's memory limit when the memory limit of the
// container changes. A container can be resized while it runs.
type memoryFollower struct {
	// read returns the limit of the container in bytes, 0 if there is none.
	read func() int64
	// set sets the limit of the garbage collector.
	set func(int64)
	// fixed is true if the operator has set GOMEMLIMIT, which takes precedence.
	fixed bool

	limit int64 // the last read limit of the container; 0 means none
}

// newMemoryFollower returns a follower of the container's limit. known is the container's limit
// at startup, 0 if there is none.
func newMemoryFollower(known int64) *memoryFollower {
	containerLimit().Set(float64(known))
	return &memoryFollower{
		read:  func() int64 { return cgroup.MemoryLimit("/") },
		set:   func(limit int64) { debug.SetMemoryLimit(limit) },
		fixed: os.Getenv("GOMEMLIMIT") != "",
		limit: known,
	}
}

// containerLimit returns the metric of the container's memory limit.
var containerLimit = sync.OnceValue(func() *metrics.Gauge { //nolint:gochecknoglobals // a metric is one per process
	return meter.Gauge("sublet_memory_limit_bytes",
		"Memory limit of the container that the garbage collector and the store follow. 0 means none.")
})

// update sets the limit of the garbage collector if the limit of the container has changed.
func (f *memoryFollower) update() {
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

// setMemoryLimit sets the limit of the garbage collector from the environment variable
// MEMORY_LIMIT, which the chart sets to the container's limit. It returns that limit in bytes.
// Without the variable, or with GOMEMLIMIT, it does nothing and returns 0.
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

// collectorLimit returns the garbage collector's limit for a container limit.
func collectorLimit(limit int64) int64 { return limit / 100 * memoryShare }

// memoryLimit parses the value of MEMORY_LIMIT.
func memoryLimit(text string) (int64, error) {
	quantity, err := resource.ParseQuantity(text)
	if err != nil || quantity.Sign() <= 0 {
		return 0, fmt.Errorf("cannot use MEMORY_LIMIT %q: it must be an amount of memory", text)
	}
	return quantity.Value(), nil
}
