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
	// scanPause is how long a scan waits for the queue.
	scanPause = 2 * time.Millisecond
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

// scan reconciles every key that either side knows.
func (r *runner) scan(ctx context.Context) {
	select {
	case <-r.synced:
	default:
		return
	}
	for key := range r.listKeys(ctx) {
		for r.queue.Len() > scanAhead {
			select {
			case <-ctx.Done():
				return
			case <-r.done:
				return
			case <-r.clock.After(scanPause):
			}
		}
		r.enqueueScanned(key)
	}
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
