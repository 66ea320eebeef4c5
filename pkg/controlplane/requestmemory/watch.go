package requestmemory

import (
	"context"
	"slices"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage"
)

const (
	// stallTime is after how long a watcher that takes no event is stalled.
	stallTime = 5 * time.Second
	// idleTime is after how long without an event everything that a watch has read was delivered, or
	// did not match.
	idleTime = time.Second
)

// stream has what a watch has read and its watcher has not got yet. Upstream keeps some 200 events for each watcher.
type stream struct {
	account *Account

	mu      sync.Mutex
	pending []pendingEvent // in the order of their delivery
	// delivered has an element when the last pending event was removed.
	delivered chan struct{}
}

// pendingEvent is an event of a watch.
type pendingEvent struct{ revision, size int64 }

// push records an event that was added to the account.
func (s *stream) push(revision, size int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending = append(s.pending, pendingEvent{revision, size})
}

// pop removes the event of a revision, and those before it, which did not match.
func (s *stream) pop(revision int64) {
	s.mu.Lock()
	at := slices.IndexFunc(s.pending, func(e pendingEvent) bool { return e.revision == revision })
	s.mu.Unlock()
	s.removeFirst(at + 1)
}

// clear removes all events.
func (s *stream) clear() {
	s.mu.Lock()
	all := len(s.pending)
	s.mu.Unlock()
	s.removeFirst(all)
}

// removeFirst removes the first count events.
func (s *stream) removeFirst(count int) {
	s.mu.Lock()
	count = min(count, len(s.pending))
	var size int64
	for _, e := range s.pending[:count] {
		size += e.size
	}
	s.pending = slices.Delete(s.pending, 0, count)
	isEmpty := len(s.pending) == 0
	s.mu.Unlock()
	if size > 0 {
		s.account.returnBytes(size)
	}
	if isEmpty {
		select {
		case s.delivered <- struct{}{}:
		default:
		}
	}
}

// isEmpty reports whether no event is pending.
func (s *stream) isEmpty() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.pending) == 0
}

// awaitDelivery returns when no event is pending, or ctx ends.
func (s *stream) awaitDelivery(ctx context.Context) {
	for !s.isEmpty() {
		select {
		case <-s.delivered:
		case <-ctx.Done():
			return
		}
	}
}

// Watcher returns a watcher whose events are added to the account of the request. It ends a watch that gets no
// memory, or whose watcher falls far behind. The client begins a new one at the last event that it has got.
func Watcher(inner clientv3.Watcher) clientv3.Watcher { return boundedWatcher{inner} }

// boundedWatcher is the watcher of [Watcher].
type boundedWatcher struct{ clientv3.Watcher }

// Watch watches keys.
func (w boundedWatcher) Watch(ctx context.Context, key string, opts ...clientv3.OpOption) clientv3.WatchChan {
	account := accountOf(ctx)
	if account == nil || account.stream == nil {
		return w.Watcher.Watch(ctx, key, opts...)
	}
	storeCtx, stop := context.WithCancel(ctx)
	inner := w.Watcher.Watch(storeCtx, key, opts...)
	r := &relay{stream: account.stream, inner: inner, result: make(chan clientv3.WatchResponse), stop: stop}
	go r.run(ctx)
	return r.result
}

// Storage returns a storage whose watches remove events from the account of the request when the watcher has got
// them. While other requests wait for memory, it ends watches whose watcher takes no events.
func Storage(inner storage.Interface) storage.Interface {
	return watchedStorage{inner, storage.APIObjectVersioner{}}
}

// watchedStorage is the storage of [Storage].
type watchedStorage struct {
	storage.Interface
	versioner storage.APIObjectVersioner
}

// Watch watches the inner storage.
func (s watchedStorage) Watch(ctx context.Context, key string, options storage.ListOptions) (watch.Interface, error) {
	account := accountOf(ctx)
	if account == nil || account.stream == nil {
		return s.Interface.Watch(ctx, key, options)
	}
	ctx, stop := context.WithCancel(ctx)
	inner, err := s.Interface.Watch(ctx, key, options)
	if err != nil {
		stop()
		return nil, err
	}
	w := &deliveredWatch{stream: account.stream, revisionOf: s.revisionOf, result: make(chan watch.Event), stop: stop}
	go w.run(ctx, inner)
	return w, nil
}

// revisionOf returns the revision of the object of an event, 0 if it has none.
func (s watchedStorage) revisionOf(event watch.Event) int64 {
	if event.Type == watch.Bookmark || event.Type == watch.Error {
		return 0
	}
	revision, err := s.versioner.ObjectResourceVersion(event.Object)
	if err != nil {
		return 0
	}
	return int64(revision) //nolint:gosec // a revision of the store is an int64
}

// deliveredWatch is a watch that knows what its watcher has got. It does not refer to the inner watch. Its buffers
// would stay in memory while the handler of a request writes an event that nobody reads.
type deliveredWatch struct {
	stream     *stream
	revisionOf func(watch.Event) int64
	result     chan watch.Event
	stop       context.CancelFunc
}

// ResultChan returns the events. It is closed when the inner watch ends, or after Stop.
func (w *deliveredWatch) ResultChan() <-chan watch.Event { return w.result }

// Stop stops the inner watch, and then this one.
func (w *deliveredWatch) Stop() { w.stop() }

// run passes the events of the inner watch on until it ends, the watcher stops, or memory is short and the
// watcher is stalled.
func (w *deliveredWatch) run(ctx context.Context, inner watch.Interface) {
	defer close(w.result)
	defer w.stream.clear()
	defer w.stop()
	idle := time.NewTimer(idleTime)
	defer idle.Stop()
	for {
		select {
		case event, ok := <-inner.ResultChan():
			if !ok || !w.deliver(ctx, event) {
				return
			}
			if revision := w.revisionOf(event); revision > 0 {
				w.stream.pop(revision)
			}
			idle.Reset(idleTime)
		case <-idle.C:
			w.stream.clear()
			idle.Reset(idleTime)
		}
	}
}

// deliver passes an event on. It returns false if the watch is to end.
func (w *deliveredWatch) deliver(ctx context.Context, event watch.Event) bool {
	for {
		stalled := time.NewTimer(stallTime)
		select {
		case w.result <- event:
			stalled.Stop()
			return true
		case <-ctx.Done():
			stalled.Stop()
			return false
		case <-stalled.C:
		}
		if w.stream.account.budget.isShort() {
			shortRequestsTotal().WithLabelValues("ended").Inc()
			return false
		}
	}
}
