package syncer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/component-base/metrics"
	"k8s.io/utils/clock"
)

const (
	// watchSettle is how long a watch without events must stay open to count as working.
	watchSettle = 5 * time.Second
	// bookmarkSilence is how long a watch may be silent if the server sends bookmarks. API
	// servers send one per minute for types in their watch cache.
	bookmarkSilence = 3 * time.Minute
	// openSilence is how long any other watch may be silent. A reflector reopens its watch
	// after ten minutes at most.
	openSilence = 11 * time.Minute
	// shortestTimeout is how long a watch of a reflector lasts at least if nothing ends it early.
	shortestTimeout = 5 * time.Minute
	// shortWatch is how long a watch must last not to count as one that ended at once.
	shortWatch = time.Second
	// failureLogPeriod is how often a failure that lasts is logged.
	failureLogPeriod = time.Minute
)

// watchHealth records whether the list and watch behind a cache work. A cache whose watch
// fails looks like a cache without changes, because a reflector retries for ever without a
// log line.
type watchHealth struct {
	name   string // "host Pod"
	clock  clock.PassiveClock
	log    logr.Logger
	meters watchMeters
	// away returns why the API server is known to be unreachable, nil if it is not. Failures
	// of its watches are then expected and already logged.
	away func() error
	// onReopen is called when a watch is open again after something ended it early, such as a
	// restart of the API server.
	onReopen func()
	// onList is called with the version of each list, before the cache has it.
	onList func(version string)

	mu           sync.Mutex
	lastActivity time.Time // of the last list, open, event or bookmark
	lastOpen     time.Time // when the server last answered a watch
	bookmarks    bool      // the server sends bookmarks
	open         *openWatch
	relistNext   bool      // no watch was open to end, so that the next one lists again
	cause        error     // of the last failure, nil after a success
	needsEvent   bool      // only an event or a bookmark is a success
	expired      bool      // the last failure was an expired version, which is normal once
	endedAtOnce  bool      // the last watch of an informer ended before it settled, which is normal once
	lastLog      time.Time // of the failure that lasts, zero if it was not logged
	graceUntil   time.Time // no failure is logged before
}

// watchMeters are the metrics of one watch.
type watchMeters struct {
	failing, activity metrics.GaugeMetric
	failures          metrics.CounterMetric
}

func newWatchMeters(side, object string) watchMeters {
	m := watchMeters{
		failing:  processMetrics().watchFailing.WithLabelValues(side, object),
		activity: processMetrics().watchActivity.WithLabelValues(side, object),
		failures: processMetrics().watchFailures.WithLabelValues(side, object),
	}
	m.failing.Set(0)
	return m
}

// openWatch is the attempt to watch that is under way.
type openWatch struct {
	cancel context.CancelFunc
	since  time.Time     // when the server answered, zero before
	relist chan struct{} // closed to end the watch and list again, nil if it cannot be
}

func newWatchHealth(name string, c clock.PassiveClock, log logr.Logger, meters watchMeters, paused func() error) *watchHealth {
	return &watchHealth{
		name: name, clock: c, log: log.WithValues("watch", name), meters: meters, away: paused,
		onReopen: func() {}, onList: func(string) {},
		lastActivity: c.Now(),
	}
}

// observe returns lw with functions that record each success and failure.
func (h *watchHealth) observe(lw toolscache.ListerWatcher) toolscache.ListerWatcher {
	watcher := toolscache.ToListerWatcherWithContext(lw)
	return &toolscache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			list, err := watcher.ListWithContext(ctx, options)
			if err != nil {
				h.recordFailure(ctx, fmt.Errorf("cannot list: %w", err))
				return list, err
			}
			h.recordActivity()
			if listed, err := meta.ListAccessor(list); err == nil {
				h.onList(listed.GetResourceVersion())
			}
			return list, nil
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			limited, cancel := context.WithCancel(ctx)
			attempt := h.begin(cancel, make(chan struct{}))
			w, err := watcher.WatchWithContext(limited, options)
			if err != nil {
				h.finish(attempt)
				h.keepRelist(attempt)
				if options.SendInitialEvents == nil || !apierrors.IsInvalid(err) {
					// A server that cannot stream lists is asked for a list next.
					h.recordFailure(ctx, fmt.Errorf("cannot watch: %w", err))
				}
				return nil, err
			}
			h.recordOpen(attempt)
			return newObservedWatch(ctx, w, h, attempt), nil
		},
	}
}

// begin records that a watch is about to be opened. relist is nil if the watch cannot be made to
// list again.
func (h *watchHealth) begin(cancel context.CancelFunc, relist chan struct{}) *openWatch {
	h.mu.Lock()
	defer h.mu.Unlock()
	attempt := &openWatch{cancel: cancel, relist: relist}
	h.open = attempt
	if h.relistNext {
		h.relistNext = false
		h.endToRelist()
	}
	return attempt
}

// recordOpen records that the server has answered a watch.
func (h *watchHealth) recordOpen(attempt *openWatch) {
	h.mu.Lock()
	h.lastActivity = h.clock.Now()
	attempt.since = h.lastActivity
	endedEarly := !h.lastOpen.IsZero() && h.lastActivity.Sub(h.lastOpen) < shortestTimeout
	h.lastOpen = h.lastActivity
	h.mu.Unlock()
	if endedEarly {
		h.onReopen()
	}
}

// finish cancels a watch and forgets it.
func (h *watchHealth) finish(attempt *openWatch) {
	attempt.cancel()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.open == attempt {
		h.open = nil
	}
}

// end ends an attempt, which was stopped or has ended by itself.
func (h *watchHealth) end(ctx context.Context, attempt *openWatch, events int, stopped bool) {
	if stopped {
		h.finish(attempt)
		return
	}
	h.recordEnd(ctx, attempt, events)
}

// recordEnd records that the server has ended a watch after a number of events. A watch that
// ends at once without any event is a failure, although the reflector takes it for a success.
func (h *watchHealth) recordEnd(ctx context.Context, attempt *openWatch, events int) {
	h.finish(attempt)
	h.mu.Lock()
	short := events == 0 && h.clock.Since(attempt.since) < shortWatch
	h.mu.Unlock()
	if short {
		h.recordFailure(ctx, errors.New("the watch ends at once"))
	}
}

// recordActivity records a list. It is no proof that the watch works.
func (h *watchHealth) recordActivity() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lastActivity = h.clock.Now()
	h.meters.activity.Set(float64(h.lastActivity.Unix()))
}

// recordEvent records an event. Any but an error proves that the watch works.
func (h *watchHealth) recordEvent(ctx context.Context, event watch.Event) {
	if event.Type == watch.Error {
		h.recordFailure(ctx, fmt.Errorf("watch ended: %w", apierrors.FromObject(event.Object)))
		return
	}
	if version, ok := streamedVersion(event); ok {
		h.onList(version)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lastActivity = h.clock.Now()
	h.meters.activity.Set(float64(h.lastActivity.Unix()))
	// The bookmark that ends a streamed list proves nothing: types without a watch cache, such
	// as Events, get no others.
	if _, endsList := streamedVersion(event); event.Type == watch.Bookmark && !endsList {
		h.bookmarks = true
	}
	h.recordSuccess()
}

// streamedVersion returns the version of a streamed list. ok is false if the event does not end one.
func streamedVersion(event watch.Event) (version string, ok bool) {
	if event.Type != watch.Bookmark {
		return "", false
	}
	object, err := meta.Accessor(event.Object)
	if err != nil || object.GetAnnotations()[metav1.InitialEventsAnnotationKey] == "" {
		return "", false
	}
	return object.GetResourceVersion(), true
}

// recordSuccess ends a failure. The caller holds the lock.
func (h *watchHealth) recordSuccess() {
	h.expired, h.needsEvent = false, false
	if h.cause == nil {
		return
	}
	h.cause = nil
	h.meters.failing.Set(0)
	if !h.lastLog.IsZero() {
		h.lastLog = time.Time{}
		h.log.Info("Watch works again")
	}
}

// recordFailure records that a list or a watch has failed. The first one is logged
// at once.
func (h *watchHealth) recordFailure(ctx context.Context, err error) {
	if ctx.Err() != nil || errors.Is(err, context.Canceled) {
		return // The watch is being stopped.
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.meters.failures.Inc()
	if (apierrors.IsResourceExpired(err) || apierrors.IsGone(err)) && !h.expired {
		h.expired = true // The reflector lists again.
		return
	}
	h.fail(err)
}

// fail records a failure and logs the first one. The caller holds the lock.
func (h *watchHealth) fail(err error) {
	first := h.cause == nil
	h.cause = err
	h.meters.failing.Set(1)
	if first && h.away() == nil && !h.clock.Now().Before(h.graceUntil) {
		h.lastLog = h.clock.Now()
		h.log.Info("Watch fails, its cache is outdated", "err", err.Error())
	}
}

// relist ends the open watch in such a way that the reflector lists again. If none is open, it ends the next one.
func (h *watchHealth) relist() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.open == nil {
		h.relistNext = true
		return
	}
	h.endToRelist()
}

// keepRelist lets the next watch list again if an attempt that has ended was to do so. A reflector tries again without
// a list if a watch is refused.
func (h *watchHealth) keepRelist(attempt *openWatch) {
	select {
	case <-attempt.relist:
		h.relist()
	default:
	}
}

// endToRelist ends the open watch so that the reflector lists again, if that is possible. The caller holds the lock.
func (h *watchHealth) endToRelist() {
	if h.open.relist != nil {
		close(h.open.relist)
		h.open = nil
	}
}

// check returns why the watch does not work, nil if it does. It also ends a watch that has
// been silent for too long, so that the reflector reopens it. It logs a lasting failure once
// a minute.
func (h *watchHealth) check() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.clock.Now()
	if away := h.away(); away != nil {
		// Silence counts from when the server is back, and a failure gets time to pass.
		h.lastActivity, h.graceUntil = now, now.Add(failureLogPeriod)
		return away
	}
	if limit := h.silenceLimit(); now.Sub(h.lastActivity) >= limit {
		h.lastActivity, h.needsEvent = now, h.bookmarks
		h.meters.failures.Inc()
		h.fail(fmt.Errorf("no event or bookmark for %s", limit))
		if h.open != nil {
			h.open.cancel() // The reflector opens it again.
			h.open = nil
		}
	}
	if !h.needsEvent && h.open != nil && !h.open.since.IsZero() && now.Sub(h.open.since) >= watchSettle {
		h.recordSuccess()
	}
	if h.cause != nil && now.Sub(h.lastLog) >= failureLogPeriod && !now.Before(h.graceUntil) {
		h.lastLog = now
		h.log.Info("Watch fails, its cache is outdated", "err", h.cause.Error())
	}
	return h.cause
}

// silenceLimit returns how long the watch may be silent. The caller holds the lock.
func (h *watchHealth) silenceLimit() time.Duration {
	if h.bookmarks {
		return bookmarkSilence
	}
	return openSilence
}
