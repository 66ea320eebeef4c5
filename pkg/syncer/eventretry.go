package syncer

import (
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// failedEvent identifies an event whose keys could not be computed.
type failedEvent struct {
	handler *handler
	object  types.NamespacedName
}

// eventRetries holds the events of one kind whose keys could not be computed, until a retry
// succeeds. Without it an error of a Keys function would lose the event.
type eventRetries struct {
	queue   workqueue.TypedRateLimitingInterface[failedEvent]
	objects map[failedEvent][]client.Object // event -> the states to compute keys for
}

func newEventRetries(c clock.WithTicker) eventRetries {
	limiter := workqueue.NewTypedItemExponentialFailureRateLimiter[failedEvent](firstRetry, lastRetry)
	return eventRetries{
		queue: workqueue.NewTypedRateLimitingQueueWithConfig(limiter,
			workqueue.TypedRateLimitingQueueConfig[failedEvent]{Clock: c}),
		objects: map[failedEvent][]client.Object{},
	}
}

// maxEventStates is how many states of one object are kept for a retry: the one
// before an update and the latest.
const maxEventStates = 2

// retryEvent keeps an event whose keys could not be computed and queues its retry.
func (r *runner) retryEvent(h *handler, object client.Object, err error) {
	event := failedEvent{handler: h, object: client.ObjectKeyFromObject(object)}
	processMetrics().errors.WithLabelValues(r.kind.name).Inc()
	r.mu.Lock()
	states := r.retries.objects[event]
	if len(states) == maxEventStates {
		states = states[:1]
	}
	r.retries.objects[event] = append(states, object)
	r.recordPanic(h.describe(object), err)
	r.mu.Unlock()
	if r.retries.queue.NumRequeues(event) == 0 {
		r.log.Info("Cannot map an event to keys, retrying", "event", h.describe(object), "err", err.Error())
	}
	r.retries.queue.AddRateLimited(event)
}

// retryEvents computes the keys of failed events again until the queue shuts down.
func (r *runner) retryEvents() {
	for {
		event, shutdown := r.retries.queue.Get()
		if shutdown {
			return
		}
		r.retryOneEvent(event)
		r.retries.queue.Done(event)
	}
}

// retryOneEvent computes the keys of one failed event and enqueues them.
func (r *runner) retryOneEvent(event failedEvent) {
	r.mu.Lock()
	objects := r.retries.objects[event]
	delete(r.retries.objects, event)
	r.mu.Unlock()
	failed := false
	for _, object := range objects {
		keys, err := event.handler.keysOf(object)
		if err != nil {
			failed = true
			r.retryEvent(event.handler, object, err)
			continue
		}
		for _, key := range keys {
			r.enqueue(key)
		}
	}
	if failed || len(objects) == 0 {
		return
	}
	r.retries.queue.Forget(event)
	r.mu.Lock()
	r.recordPanic(event.handler.describe(objects[0]), nil)
	r.mu.Unlock()
}
