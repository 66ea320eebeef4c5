package syncer

import (
	"context"
	"sync"

	"k8s.io/apimachinery/pkg/watch"
)

// observedWatch is a watch whose events a watchHealth records.
type observedWatch struct {
	inner   watch.Interface
	events  chan watch.Event
	stopped chan struct{}
	stop    func()
}

func newObservedWatch(ctx context.Context, inner watch.Interface, h *watchHealth, attempt *openWatch) *observedWatch {
	w := &observedWatch{inner: inner, events: make(chan watch.Event), stopped: make(chan struct{})}
	w.stop = sync.OnceFunc(func() {
		close(w.stopped)
		inner.Stop()
	})
	go w.run(ctx, h, attempt)
	return w
}

// ResultChan implements watch.Interface.
func (w *observedWatch) ResultChan() <-chan watch.Event { return w.events }

// Stop implements watch.Interface.
func (w *observedWatch) Stop() { w.stop() }

// run passes events on until the watch ends or is stopped.
func (w *observedWatch) run(ctx context.Context, h *watchHealth, attempt *openWatch) {
	events, stopped, listsAgain := 0, false, false
	defer func() {
		h.end(ctx, attempt, events, stopped)
		if !listsAgain {
			h.keepRelist(attempt)
		}
		close(w.events)
		for range w.inner.ResultChan() {
			continue // Drain it: a filter below blocks for ever if nobody takes its last event.
		}
	}()
	for {
		var event watch.Event
		more, isRelist := true, false
		select {
		case event, more = <-w.inner.ResultChan():
			if more {
				h.recordEvent(ctx, event)
			}
		case <-attempt.relist:
			event, isRelist = relistEvent(), true
		case <-w.stopped:
			stopped = true
			return
		}
		if !more {
			return
		}
		events++
		select {
		case w.events <- event:
			listsAgain = isRelist
		case <-w.stopped:
			stopped = true
			return
		}
		if event.Type == watch.Error {
			<-w.stopped // The reflector stops a watch after an error.
			stopped = true
			return
		}
	}
}
