package syncer

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// scanAhead is the queue length above which a scan waits, so that it does not delay events.
	scanAhead = 8
	// liveScans is the number of scans per comparison with live lists.
	liveScans = 6
	// scanPause is the time between two looks at a long queue.
	scanPause = 2 * time.Millisecond
	// scanPatience is how long a scan waits in all for the queue of one kind. A tenant can keep a queue
	// long for ever, and the scans of the other kinds come after it.
	scanPatience = time.Minute
)

// scan reconciles all keys of all kinds every [Options.FullScan]. As watches deliver every
// change, a scan finds no difference unless something went wrong. It is then repaired and
// counted. The first scan, and then one of liveScans, also compares the caches with the API
// servers.
func (e *Engine) scan(ctx context.Context) {
	pause := e.options.FullScan / 10
	for number := 0; ; number++ {
		select {
		case <-ctx.Done():
			return
		case <-e.options.Clock.After(pause):
		}
		pause = e.options.FullScan
		if number%liveScans == 0 {
			e.compareLive(ctx)
		}
		for _, r := range e.listRunners() {
			r.scan(ctx)
		}
	}
}

// scan reconciles every key that either side knows. A kind that is busy for scanPatience is left to the next
// scan, which begins with other keys.
func (r *runner) scan(ctx context.Context) {
	select {
	case <-r.synced:
	default:
		return
	}
	patience := scanPatience
	for key := range r.listKeys(ctx) {
		waited, ok := r.awaitShortQueue(ctx, patience)
		if !ok {
			return
		}
		patience -= waited
		r.enqueueScanned(key)
	}
}

// awaitShortQueue waits until the queue is short enough for a scan, and returns how long that took. ok is false
// if that is longer than patience, or if the kind or the engine ends.
func (r *runner) awaitShortQueue(ctx context.Context, patience time.Duration) (waited time.Duration, ok bool) {
	if r.queue.Len() <= scanAhead {
		return 0, true
	}
	start := r.clock.Now()
	for r.queue.Len() > scanAhead {
		if r.clock.Since(start) >= patience {
			r.log.Info("Kind is busy, the full scan leaves the rest of its objects to the next one")
			return 0, false
		}
		select {
		case <-ctx.Done():
			return 0, false
		case <-r.done:
			return 0, false
		case <-r.clock.After(scanPause):
		}
	}
	return r.clock.Since(start), true
}

// enqueueScanned enqueues a key for the scan. It skips a key that is being retried: that is known
// to differ, and has its own backoff.
func (r *runner) enqueueScanned(key types.NamespacedName) {
	r.mu.Lock()
	_, failing := r.failing[key]
	if !failing {
		r.scanned[key] = true
	}
	r.mu.Unlock()
	if !failing {
		r.queue.Add(key)
	}
}

// listKeys returns every key that either side has.
func (r *runner) listKeys(ctx context.Context) map[types.NamespacedName]struct{} {
	keys := map[types.NamespacedName]struct{}{}
	for _, object := range r.reconciler.virtual.store.List() {
		keys[client.ObjectKeyFromObject(object)] = struct{}{}
	}
	s := r.reconciler.scope(ctx)
	for _, object := range r.reconciler.host.store.List() {
		if key, ours, err := r.originOf(s, object); err == nil && ours {
			keys[key] = struct{}{}
		}
	}
	return keys
}
