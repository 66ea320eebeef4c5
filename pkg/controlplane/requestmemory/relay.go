package requestmemory

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// maxQueued is how many bytes of events wait for a watcher that does not take them. Each event counts as
	// eventOverhead more, because an event without a value takes memory too.
	maxQueued     = 8 << 20
	eventOverhead = 1 << 10
)

// relay passes the events of a watch of the store on. The client of the store keeps events that its user does not
// take, without a bound. So the relay takes all of them at once, and adds them to the account.
type relay struct {
	stream *stream
	inner  clientv3.WatchChan // nil when the relay takes no more
	result chan clientv3.WatchResponse
	// stop stops the watch of the store. What the client of the store has is dropped then.
	stop context.CancelFunc
	// isEnded reports whether the relay has stopped the watch of the store.
	isEnded bool

	queue  []queuedResponse
	queued int64 // sum of the sizes in queue, in bytes
}

// queuedResponse is a response for which there is room.
type queuedResponse struct {
	clientv3.WatchResponse
	size int64 // with the overhead of its events, in bytes
}

// run passes events on until the watch of the store ends and the watcher has taken all of them, or ctx ends.
func (r *relay) run(ctx context.Context) {
	defer close(r.result)
	defer r.stop()
	for r.inner != nil || len(r.queue) > 0 {
		var result chan<- clientv3.WatchResponse
		var first clientv3.WatchResponse
		if len(r.queue) > 0 {
			result, first = r.result, r.queue[0].WatchResponse
		}
		select {
		case response, ok := <-r.inner:
			if ok {
				r.take(ctx, response)
			} else {
				r.inner = nil
			}
		case result <- first:
			r.queued -= r.queue[0].size
			r.queue[0] = queuedResponse{}
			r.queue = r.queue[1:]
		case <-ctx.Done():
			return
		}
	}
	if r.isEnded {
		// The end of the result drops what upstream has not delivered. The client would see no progress.
		r.stream.awaitDelivery(ctx)
	}
}

// take adds a response to the queue and to the account. Without room, it ends the watch of the store. Then it waits
// for room if nothing else is queued, so that the client gets one event at least. Otherwise it drops the response,
// and the client gets it from its next watch.
func (r *relay) take(ctx context.Context, response clientv3.WatchResponse) {
	size := weighEvents(response.Events)
	next := queuedResponse{response, size + eventOverhead*int64(len(response.Events))}
	hasRoom := len(r.queue) == 0 || r.queued+next.size <= maxQueued
	if !hasRoom || !r.stream.account.tryAdd(size) {
		shortRequestsTotal().WithLabelValues("ended").Inc()
		r.stop()
		r.inner, r.isEnded = nil, true
		if len(r.queue) > 0 || r.stream.account.add(ctx, size) != nil {
			return
		}
	}
	for _, e := range response.Events {
		r.stream.push(e.Kv.ModRevision, weighEvent(e))
	}
	r.queue, r.queued = append(r.queue, next), r.queued+next.size
}

// weighEvents returns what events count as.
func weighEvents(events []*clientv3.Event) int64 {
	var size int64
	for _, e := range events {
		size += weighEvent(e)
	}
	return size
}

// weighEvent returns what an event counts as.
func weighEvent(e *clientv3.Event) int64 { return weighOne(e.Kv) + weighOne(e.PrevKv) }
