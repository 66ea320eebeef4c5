package syncer

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
)

const (
	// firstRetry and lastRetry bound the backoff of a failed reconcile; it doubles
	// from the one to the other.
	firstRetry = 10 * time.Millisecond
	lastRetry  = 15 * time.Second
	// reconcileTimeout is how long one reconcile may take.
	reconcileTimeout = 30 * time.Second
	// wakePause is the time between two keys that are requeued after the host was unreachable or
	// overloaded.
	wakePause = 5 * time.Millisecond
	// lastAskedPause bounds the pause that an API server may ask for.
	lastAskedPause = time.Minute
	// longestWait bounds the time until a key is reconciled again without an event. The queue keeps the
	// key for that time, even if its object is gone, and tenants choose some of the times.
	longestWait = 10 * time.Minute
)

// runner runs one kind: it has the queue, the handlers that fill it, and the workers that
// reconcile its keys.
type runner struct {
	kind       Kind
	reconciler *reconciler
	queue      workqueue.TypedRateLimitingInterface[types.NamespacedName]
	limiter    workqueue.TypedRateLimiter[types.NamespacedName]
	refusals   *refusalBackoff
	clock      clock.WithTicker
	log        logr.Logger
	workers    workers
	breaker    *hostBreaker
	storeGuard *storeGuard

	virtualReader *scopeReader
	hostReader    *scopeReader
	virtualStore  watchStore
	hostStore     watchStore
	paused        atomic.Bool
	cancel        context.CancelFunc
	done          chan struct{}
	leading       <-chan struct{} // closed when the engine leads
	synced        chan struct{}   // closed when both sides have been listed once

	mu           sync.Mutex
	pendingSince map[types.NamespacedName]time.Time // key -> time of the first event since its last reconcile
	parked       map[types.NamespacedName]bool      // keys that wait for the host
	onHold       map[types.NamespacedName]string    // key -> why its delete is on hold
	failing      map[types.NamespacedName]string    // key -> last error
	panicking    map[string]string                  // key or event -> last panic
	scanned      map[types.NamespacedName]bool      // keys that the full scan has queued
	retries      eventRetries
	watches      []*sharedWatch
	lastError    string
	startErr     string
	mismatch     int
}

func newRunner(kind Kind, c clock.WithTicker, log logr.Logger, limit int) *runner {
	limiter := workqueue.NewTypedItemExponentialFailureRateLimiter[types.NamespacedName](firstRetry, lastRetry)
	r := &runner{
		kind: kind, clock: c, workers: workers{limit: limit},
		log:     log.WithValues("kind", kind.name),
		limiter: limiter,
		queue: workqueue.NewTypedRateLimitingQueueWithConfig(limiter,
			workqueue.TypedRateLimitingQueueConfig[types.NamespacedName]{
				Name: kind.name, Clock: slowTicker{c}, MetricsProvider: queueMetrics{},
			}),
		done:         make(chan struct{}),
		synced:       make(chan struct{}),
		pendingSince: map[types.NamespacedName]time.Time{},
		parked:       map[types.NamespacedName]bool{},
		onHold:       map[types.NamespacedName]string{},
		failing:      map[types.NamespacedName]string{},
		panicking:    map[string]string{},
		scanned:      map[types.NamespacedName]bool{},
		retries:      newEventRetries(c),
	}
	r.refusals = newRefusalBackoff(c, r.queue.Add)
	return r
}

// run runs the kind until ctx ends.
func (r *runner) run(ctx context.Context) {
	defer close(r.done)
	processMetrics().waiting.WithLabelValues(r.kind.name).Set(1)
	defer processMetrics().waiting.WithLabelValues(r.kind.name).Set(0)
	defer r.queue.ShutDown()
	defer r.workers.group.Wait()
	defer r.retries.queue.ShutDown()
	r.workers.group.Go(r.retryEvents)
	subscriptions, ok := r.subscribeUntilReady(ctx)
	defer r.virtualReader.releaseAll()
	defer r.hostReader.releaseAll()
	defer subscriptions.stop()
	if !ok {
		return
	}
	if !toolscache.WaitFor(ctx, "", subscriptions.checkers...) {
		return
	}
	processMetrics().waiting.WithLabelValues(r.kind.name).Set(0)
	close(r.synced)
	if !r.awaitLeading(ctx) {
		return
	}
	r.workers.group.Go(func() { r.refusals.run(ctx) })
	r.workers.start(func() { r.work(ctx) })
	<-ctx.Done()
	r.queue.ShutDown()
}

// awaitLeading waits until the engine leads. It returns false if ctx ends before. The latency of
// changes that came on standby counts from now.
func (r *runner) awaitLeading(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-r.leading:
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.clock.Now()
	for key := range r.pendingSince {
		r.pendingSince[key] = now
	}
	return true
}

// enqueue queues a key because of an event.
func (r *runner) enqueue(key types.NamespacedName) {
	r.recordEvent(key)
	r.queue.Add(key)
}

// recordEvent records the time of the first event of a key, to measure the sync latency.
func (r *runner) recordEvent(key types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, waiting := r.pendingSince[key]; !waiting {
		r.pendingSince[key] = r.clock.Now()
	}
}

// work reconciles keys until the queue has shut down or another worker waits for keys.
func (r *runner) work(ctx context.Context) {
	for {
		key, shutdown := r.queue.Get()
		if shutdown {
			return
		}
		r.workers.takeKey(func() { r.work(ctx) })
		if !r.processWorkItem(ctx, key) || !r.workers.awaitKey() {
			return
		}
	}
}

// processWorkItem reconciles a key of the queue. It returns false when the engine stops.
func (r *runner) processWorkItem(ctx context.Context, key types.NamespacedName) bool {
	defer r.queue.Done(key)
	r.mu.Lock()
	since, announced := r.pendingSince[key]
	scanned := r.scanned[key]
	delete(r.pendingSince, key)
	delete(r.scanned, key)
	r.mu.Unlock()
	var lastWrite time.Time
	after, err := r.reconcileKey(ctx, key, func() { lastWrite = r.clock.Now() })
	wrote := !lastWrite.IsZero()
	if wrote && announced {
		observeLatency(r.kind.name, lastWrite.Sub(since))
	}
	if ctx.Err() != nil {
		return false // It failed because the engine stops.
	}
	if wrote && scanned && !announced {
		r.countMismatch()
	}
	r.requeue(key, after, wrote, err)
	return true
}

// reconcileKey reconciles one key and calls onWrite after each write. A panic of
// the kind is returned as an error.
func (r *runner) reconcileKey(ctx context.Context, key types.NamespacedName, onWrite func()) (after time.Duration, err error) {
	defer r.recoverPanic("reconcile of", key, &err)
	limited, cancel := context.WithTimeout(ctx, reconcileTimeout)
	defer cancel()
	reconciler := *r.reconciler // a copy, as each reconcile has its own onWrite
	reconciler.onWrite = onWrite
	return reconciler.reconcile(limited, key)
}

// countMismatch counts an object that differed although no event announced it.
func (r *runner) countMismatch() {
	processMetrics().mismatches.WithLabelValues(r.kind.name).Inc()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mismatch++
}
