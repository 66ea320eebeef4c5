package backup

import (
	"fmt"
	"sync"
	"time"

	"k8s.io/component-base/metrics"

	"github.com/sublet-dev/sublet/api/syncz"
	"github.com/sublet-dev/sublet/pkg/meter"
)

// processMetrics are the metrics of the process.
type processMetrics struct {
	lastSuccess, size, duration *metrics.Gauge
	failures                    *metrics.Counter
}

var registered = sync.OnceValue(func() processMetrics { //nolint:gochecknoglobals // a metric is one per process
	return processMetrics{
		lastSuccess: meter.Gauge("sublet_backup_last_success_timestamp_seconds", "When the newest complete backup of the store was begun."),
		size:        meter.Gauge("sublet_backup_size_bytes", "Size of the newest complete backup of the store."),
		duration:    meter.Gauge("sublet_backup_duration_seconds", "How long the last backup took to write and verify."),
		failures:    meter.Counter("sublet_backup_failures_total", "Backups of the store that failed."),
	}
})

// observe sets the metrics of the newest backup.
func observe(file File) {
	registered().lastSuccess.Set(float64(file.Time.Unix()))
	registered().size.Set(float64(file.Size))
}

// Checks returns the health of the backups. They are not healthy if the last one failed,
// or if the newest one is too old.
func (k *Keeper) Checks() []syncz.Check {
	k.mu.Lock()
	defer k.mu.Unlock()
	check := syncz.Check{Name: "backup", Healthy: true, Message: "The store is backed up on schedule."}
	switch {
	case k.due.IsZero() && k.lastError == "":
		return nil // The leader takes them.
	case k.lastError != "":
		check.Healthy, check.Message = false, "The last backup of the store failed."
		check.Details = append(check.Details, k.lastError)
	case k.last.Time.IsZero():
		check.Message = "The first backup of the store is being written."
	case k.Clock.Now().After(k.due.Add(grace)):
		check.Healthy, check.Message = false, "The newest backup of the store is too old."
	}
	if !k.last.Time.IsZero() {
		check.Details = append(check.Details, fmt.Sprintf("newest: %s, %d bytes, begun %s", k.last.Name, k.last.Size, k.last.Time.Format(time.RFC3339)))
	}
	return []syncz.Check{check}
}
