package controlplane

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"k8s.io/component-base/metrics"
	"k8s.io/klog/v2"

	"github.com/sublet-dev/sublet/api/syncz"
	"github.com/sublet-dev/sublet/pkg/meter"
)

// maxMissingShown is how many missing objects the check names.
const maxMissingShown = 5

// missingObjects is the metric of objects that a bootstrap could not create.
var missingObjects = sync.OnceValue(func() *metrics.Gauge { //nolint:gochecknoglobals // a metric is one per process
	return meter.Gauge("sublet_bootstrap_missing", "System objects of the virtual cluster that are missing and could not be created.")
})

// recordMissing records why an object could not be created, and logs it once for
// each reason.
func (b *bootstrap) recordMissing(o systemObject, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	name, reason := o.String(), err.Error()
	if b.missing[name] != reason {
		klog.ErrorS(err, "Cannot create a system object; continuing without it", "object", name)
	}
	b.missing[name] = reason
	missingObjects().Set(float64(len(b.missing)))
}

// recordPresent records that an object exists.
func (b *bootstrap) recordPresent(o systemObject) {
	b.mu.Lock()
	defer b.mu.Unlock()
	name := o.String()
	if _, ok := b.missing[name]; ok {
		delete(b.missing, name)
		klog.InfoS("Created a system object that was missing", "object", name)
	}
	missingObjects().Set(float64(len(b.missing)))
}

// isMissing reports whether the last attempt at an object failed.
func (b *bootstrap) isMissing(o systemObject) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, ok := b.missing[o.String()]
	return ok
}

// countMissing returns the number of objects that could not be created.
func (b *bootstrap) countMissing() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.missing)
}

// check returns the health of the system objects.
func (b *bootstrap) check() syncz.Check {
	b.mu.Lock()
	defer b.mu.Unlock()
	check := syncz.Check{Name: "system objects", Healthy: len(b.missing) == 0, Message: "all exist"}
	if check.Healthy {
		return check
	}
	names := slices.Sorted(maps.Keys(b.missing))
	for _, name := range names {
		check.Details = append(check.Details, name+": "+b.missing[name])
	}
	if len(names) > maxMissingShown {
		names = append(names[:maxMissingShown], "…")
	}
	check.Message = fmt.Sprintf("%d cannot be created, retrying: %s", len(b.missing), strings.Join(names, ", "))
	return check
}
