package syncer

import (
	"context"
	"time"
)

// monitorPeriod is how often watches and queues are checked.
const monitorPeriod = 15 * time.Second

// monitor checks all watches and queues every monitorPeriod until ctx ends.
func (e *Engine) monitor(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.options.Clock.After(monitorPeriod):
		}
		for _, side := range []*sharedWatches{e.virtual.watches, e.host.watches} {
			for _, w := range side.list() {
				_ = w.check() // It repairs and logs a failure itself.
			}
		}
		for _, r := range e.listRunners() {
			r.recordOldest()
		}
		e.ledger.dropUnseen()
	}
}

// resetMeters resets the gauges of an engine that has stopped. Another replica may report them
// from now on.
func (e *Engine) resetMeters() {
	for _, side := range []*sharedWatches{e.virtual.watches, e.host.watches} {
		for _, w := range side.list() {
			if w.health != nil {
				w.health.meters.failing.Set(0)
			}
		}
	}
	for _, r := range e.listRunners() {
		processMetrics().held.WithLabelValues(r.kind.name).Set(0)
		processMetrics().oldestPending.WithLabelValues(r.kind.name).Set(0)
		processMetrics().queueDepth.WithLabelValues(r.kind.name).Set(0)
	}
	recordHostReachable()
}

// recordOldest records for how long the oldest change has waited for a reconcile.
func (r *runner) recordOldest() {
	r.mu.Lock()
	defer r.mu.Unlock()
	oldest := r.clock.Now()
	for _, since := range r.pendingSince {
		if since.Before(oldest) {
			oldest = since
		}
	}
	processMetrics().oldestPending.WithLabelValues(r.kind.name).Set(r.clock.Since(oldest).Seconds())
}
