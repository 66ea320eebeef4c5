package syncer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// firstRetry and lastRetry are the pauses before a failed reconcile is tried
	// again; they double from the one to the other.
	firstRetry = 10 * time.Millisecond
	lastRetry  = 15 * time.Second
	// refusedRetry is the shortest pause after the host has refused something:
	// asking again at once does not change its mind.
	refusedRetry = time.Second
	// reconcileTimeout is how long one reconcile may take.
	reconcileTimeout = 30 * time.Second
)

// runner runs one kind: it turns the events of its watches into keys, and the
// keys into reconciles.
type runner struct {
	kind       Kind
	reconciler *reconciler
	queue      workqueue.TypedRateLimitingInterface[types.NamespacedName]
	limiter    workqueue.TypedRateLimiter[types.NamespacedName]
	clock      clock.WithTicker
	log        logr.Logger
	workers    int
	breaker    *hostBreaker
	storeGuard *storeGuard

	virtual, host *sharedWatches
	virtualStore  lateStore
	hostStore     lateStore
	cancel        context.CancelFunc
	done          chan struct{}
	synced        chan struct{} // closed when both sides have been seen once

	mu           sync.Mutex
	pendingSince map[types.NamespacedName]time.Time // when the first unanswered event came
	parked       map[types.NamespacedName]bool      // wait for the host
	onHold       map[types.NamespacedName]string    // wait for the guard
	failing      map[types.NamespacedName]string    // are tried again
	scanned      map[types.NamespacedName]bool      // were queued by the full scan
	watches      []*sharedWatch
	lastError    string
	startErr     string
	mismatch     int
}

func newRunner(kind Kind, c clock.WithTicker, log logr.Logger, workers int) *runner {
	limiter := workqueue.NewTypedItemExponentialFailureRateLimiter[types.NamespacedName](firstRetry, lastRetry)
	return &runner{
		kind: kind, clock: c, workers: workers,
		log:     log.WithValues("kind", kind.name),
		limiter: limiter,
		queue: workqueue.NewTypedRateLimitingQueueWithConfig(limiter,
			workqueue.TypedRateLimitingQueueConfig[types.NamespacedName]{Clock: c}),
		done:         make(chan struct{}),
		synced:       make(chan struct{}),
		pendingSince: map[types.NamespacedName]time.Time{},
		parked:       map[types.NamespacedName]bool{},
		onHold:       map[types.NamespacedName]string{},
		failing:      map[types.NamespacedName]string{},
		scanned:      map[types.NamespacedName]bool{},
	}
}

// run runs the kind until ctx ends.
func (r *runner) run(ctx context.Context) {
	defer close(r.done)
	meter().waiting.WithLabelValues(r.kind.name).Set(1)
	defer meter().waiting.WithLabelValues(r.kind.name).Set(0)
	defer r.queue.ShutDown()
	watches, ok := r.subscribeUntilReady(ctx)
	defer watches.stop()
	if !ok {
		return
	}
	if !toolscache.WaitFor(ctx, "", watches.checkers...) {
		return
	}
	meter().waiting.WithLabelValues(r.kind.name).Set(0)
	close(r.synced)
	var workers sync.WaitGroup
	for range r.workers {
		workers.Go(func() {
			for r.processNextWorkItem(ctx) {
			}
		})
	}
	<-ctx.Done()
	r.queue.ShutDown()
	workers.Wait()
}

// subscriptions are the sources of a kind and its handlers there.
type subscriptions struct {
	checkers []toolscache.DoneChecker
	undo     []func()
}

// stop takes the handlers away and lets go of the sources.
func (w *subscriptions) stop() {
	for _, undo := range w.undo {
		undo()
	}
}

// subscribeUntilReady starts the watches of the kind. It tries until it succeeds or ctx ends:
// an API server that does not know a type yet, or cannot be asked, may do so later.
func (r *runner) subscribeUntilReady(ctx context.Context) (*subscriptions, bool) {
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, lastRetry) {
		w := &subscriptions{}
		err := r.subscribeAll(ctx, w)
		if err == nil {
			return w, true
		}
		w.stop()
		r.setStartError(err)
		select {
		case <-ctx.Done():
			return &subscriptions{}, false
		case <-r.clock.After(pause):
		}
	}
}

// subscribeAll starts the watches of the kind or fails.
func (r *runner) subscribeAll(ctx context.Context, w *subscriptions) error {
	virtual, err := r.subscribe(ctx, w, r.virtual, r.kind.newVirtual(), nil, nil, &handler{own: true, statusBlind: r.kind.statusBlind, keys: r.ownKey})
	if err != nil {
		return err
	}
	host, err := r.subscribe(ctx, w, r.host, r.kind.newHost(), r.kind.sel, r.kind.trim, &handler{own: true, keys: r.originKey})
	if err != nil {
		return err
	}
	all := []*sharedWatch{virtual, host}
	r.virtualStore.watch.Store(virtual)
	r.hostStore.watch.Store(host)
	for _, also := range r.kind.also {
		side, sel := r.virtual, everythingIf(false)
		if also.Side == Host {
			side, sel = r.host, everythingIf(also.All)
		}
		s, err := r.subscribe(ctx, w, side, also.Object, sel, nil, &handler{statusBlind: also.StatusBlind, keys: also.Keys})
		if err != nil {
			return err
		}
		all = append(all, s)
	}
	for _, index := range r.kind.indexes {
		side := r.virtual
		if index.Side == Host {
			side = r.host
		}
		s, err := side.watchFor(index.Object)
		if err != nil {
			return err
		}
		if err := side.addIndex(s, index); err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.watches, r.startErr = all, ""
	return nil
}

// ownKey is the key of a virtual object.
func (r *runner) ownKey(_ Scope, virtual client.Object) []types.NamespacedName {
	return []types.NamespacedName{client.ObjectKeyFromObject(virtual)}
}

// originKey is the virtual key of a host object, if it is the copy of one.
func (r *runner) originKey(s Scope, host client.Object) []types.NamespacedName {
	key, ours := r.kind.origin(s, host)
	if !ours {
		return nil
	}
	return []types.NamespacedName{key}
}

// subscribe takes part in a watch, whose events h turns into keys.
func (r *runner) subscribe(ctx context.Context, w *subscriptions, side *sharedWatches, like client.Object, sel selector, trim func(client.Object), h *handler) (*sharedWatch, error) {
	s, err := side.acquire(like, sel, trim)
	if err != nil {
		return nil, err
	}
	w.undo = append(w.undo, func() { side.release(s) })
	h.runner, h.ctx, h.side = r, ctx, side.side
	registration, err := s.informer.AddEventHandlerWithOptions(h, toolscache.HandlerOptions{})
	if err != nil {
		return nil, fmt.Errorf("cannot listen to %s %s: %w", side.side, s.gvk.Kind, err)
	}
	w.undo = append(w.undo, func() { _ = s.informer.RemoveEventHandler(registration) })
	w.checkers = append(w.checkers, registration.HasSyncedChecker())
	return s, nil
}

// setStartError keeps why the watches do not start and logs it when it is new.
func (r *runner) setStartError(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if text := err.Error(); text != r.startErr {
		r.startErr = text
		r.log.Info("The kind does not start; it is tried again until it does", "reason", text)
	}
}

// enqueue queues a key because something happened.
func (r *runner) enqueue(key types.NamespacedName) {
	r.mu.Lock()
	if _, waiting := r.pendingSince[key]; !waiting {
		r.pendingSince[key] = r.clock.Now()
	}
	r.mu.Unlock()
	r.queue.Add(key)
}

// processNextWorkItem reconciles the next key of the queue. It is false when there will be none.
func (r *runner) processNextWorkItem(ctx context.Context) bool {
	key, shutdown := r.queue.Get()
	if shutdown {
		return false
	}
	defer r.queue.Done(key)
	meter().depth.WithLabelValues(r.kind.name).Set(float64(r.queue.Len()))
	r.mu.Lock()
	since, announced := r.pendingSince[key]
	scanned := r.scanned[key]
	delete(r.pendingSince, key)
	delete(r.scanned, key)
	r.mu.Unlock()
	limited, cancel := context.WithTimeout(ctx, reconcileTimeout)
	defer cancel()
	step := *r.reconciler
	wrote := false
	step.onWrite = func() {
		wrote = true
		if announced {
			observeLatency(r.kind.name, r.clock.Since(since))
		}
	}
	again, err := step.reconcile(limited, key)
	if ctx.Err() != nil {
		return false // What failed, failed because the engine stops.
	}
	if wrote && scanned && !announced {
		r.countMismatch()
	}
	r.requeue(key, again, err)
	return true
}

// countMismatch counts an object that differed although no event had said so.
func (r *runner) countMismatch() {
	meter().mismatches.WithLabelValues(r.kind.name).Inc()
	r.mu.Lock()
	r.mismatch++
	r.mu.Unlock()
}

// requeue decides when a key is looked at again.
func (r *runner) requeue(key types.NamespacedName, again time.Duration, err error) {
	var held *heldError
	isHeld := errors.As(err, &held)
	unreachable := err != nil && r.breaker.tripCause() != nil
	r.recordState(key, err, isHeld, unreachable)
	switch {
	case err == nil:
		r.queue.Forget(key)
		if again > 0 {
			r.queue.AddAfter(key, again)
		}
	case isHeld:
		r.queue.Forget(key)
		if r.storeGuard.onHold() == "" {
			r.queue.Add(key) // It was released in between.
		}
	case unreachable:
		r.queue.Forget(key)
		if r.breaker.tripCause() == nil {
			r.queue.Add(key) // It opened in between.
		}
	default:
		r.requeueWithBackoff(key, err)
	}
}

// requeueWithBackoff queues a failed key after a pause.
func (r *runner) requeueWithBackoff(key types.NamespacedName, err error) {
	failures := r.queue.NumRequeues(key)
	pause := r.limiter.When(key)
	if apierrors.IsConflict(err) {
		// Somebody else wrote first. The watch brings the new state in no time.
		r.queue.AddAfter(key, pause)
		return
	}
	meter().errors.WithLabelValues(r.kind.name).Inc()
	if failures == 0 || pause >= lastRetry && failures%16 == 0 {
		r.log.Info("A reconcile failed and is tried again", "object", key.String(), "reason", err.Error())
	}
	var no *refusal
	var foreign *foreignError
	if errors.As(err, &no) || errors.As(err, &foreign) {
		pause = min(refusedRetry<<min(failures, 4), lastRetry)
	}
	r.queue.AddAfter(key, pause)
}

// recordState keeps what /syncz says about a key.
func (r *runner) recordState(key types.NamespacedName, err error, held, unreachable bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.onHold, key)
	delete(r.parked, key)
	delete(r.failing, key)
	switch {
	case err == nil:
	case held:
		r.onHold[key] = err.Error()
	case unreachable:
		r.parked[key] = true
	case !apierrors.IsConflict(err):
		r.lastError = fmt.Sprintf("%s: %v", key, err)
		r.failing[key] = err.Error()
	}
	meter().held.WithLabelValues(r.kind.name).Set(float64(len(r.onHold)))
}

// requeueParked queues what waited for the host or for the guard.
func (r *runner) requeueParked() {
	r.mu.Lock()
	keys := make([]types.NamespacedName, 0, len(r.parked)+len(r.onHold))
	for key := range r.parked {
		keys = append(keys, key)
	}
	for key := range r.onHold {
		keys = append(keys, key)
	}
	r.mu.Unlock()
	for _, key := range keys {
		r.enqueue(key)
	}
}
