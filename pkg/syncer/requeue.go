package syncer

import (
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
)

// lastingFailures is how often a key must have failed in a row to count as one that fails. Until then, the
// watch may show what a conflict was about. With the backoff, that takes some seconds.
const lastingFailures = 9

// outcome is the result of a reconcile.
type outcome int

const (
	outcomeSucceeded outcome = iota
	// outcomeOnHold is a write that is forbidden for now: by the store guard, by a pause, or
	// because this replica must not write.
	outcomeOnHold
	// outcomeUnreachable is a failure while the host is unreachable.
	outcomeUnreachable
	// outcomeRefused is a decision that another request does not change.
	outcomeRefused
	outcomeFailed
)

// classify returns the outcome of a reconcile that returned err.
func (r *runner) classify(err error) outcome {
	if err == nil {
		return outcomeSucceeded
	}
	if _, ok := errors.AsType[*onHoldError](err); ok {
		return outcomeOnHold
	}
	switch {
	case r.breaker.tripCause() != nil:
		return outcomeUnreachable
	case isRefused(err):
		return outcomeRefused
	default:
		return outcomeFailed
	}
}

// requeue decides when a key is reconciled again.
func (r *runner) requeue(key types.NamespacedName, after time.Duration, wrote bool, err error) {
	if errors.Is(err, errDeferred) {
		r.queue.Forget(key)
		return // Its retry is planned.
	}
	result := r.classify(err)
	r.recordState(key, result, err)
	if result != outcomeRefused {
		r.refusals.forget(key, wrote && result == outcomeSucceeded)
	}
	if result != outcomeFailed {
		r.queue.Forget(key)
	}
	switch result {
	case outcomeSucceeded:
		if after > 0 {
			r.queue.AddAfter(key, min(after, longestWait))
		}
	case outcomeOnHold, outcomeUnreachable:
		if !r.mustWait(result) {
			r.queue.Add(key) // It was released in between.
		}
	case outcomeRefused:
		r.requeueRefused(key, err)
	case outcomeFailed:
		r.requeueWithBackoff(key, err)
	}
}

// mustWait reports whether the reason for parking a key still exists.
func (r *runner) mustWait(result outcome) bool {
	if result == outcomeUnreachable {
		return r.breaker.tripCause() != nil
	}
	return r.storeGuard.onHold() != "" || r.paused.Load()
}

// requeueRefused plans the retry of a refused key, from the budget of the kind.
func (r *runner) requeueRefused(key types.NamespacedName, err error) {
	processMetrics().errors.WithLabelValues(r.kind.name).Inc()
	attempts := r.refusals.add(key)
	if _, byHost := errors.AsType[*hostRefusal](err); byHost {
		r.refusals.recordRefusal(key, r.reconciler.virtual.store.Get(key), err)
	}
	if attempts == 1 {
		r.log.Info("Copy refused, retrying with a backoff", "object", key.String(), "err", err.Error())
	}
}

// requeueWithBackoff queues a failed key after a pause.
func (r *runner) requeueWithBackoff(key types.NamespacedName, err error) {
	failures := r.queue.NumRequeues(key)
	pause := max(r.limiter.When(key), r.askedPause(err))
	if !apierrors.IsConflict(err) || failures >= lastingFailures {
		// After a conflict the watch brings the new state soon, unless the host always answers with one.
		processMetrics().errors.WithLabelValues(r.kind.name).Inc()
		if failures == 0 || isReported(failures) {
			r.log.Info("Reconcile failed, retrying", "object", key.String(), "err", err.Error())
		}
	}
	r.queue.AddAfter(key, pause)
}

// isReported reports whether a failure after that many others is logged, and recorded as an Event for the
// tenant. After the first one, every sixteenth is.
func isReported(failures int) bool {
	return failures == lastingFailures || failures > lastingFailures && failures%16 == 0
}

// askedPause returns the pause that an overloaded API server asks for, 0 for none. Keys that fail at the
// same time are spread, because the server has asked each of them to come back at once.
func (r *runner) askedPause(err error) time.Duration {
	seconds, ok := apierrors.SuggestsClientDelay(err)
	if !ok || seconds <= 0 {
		return 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return min(time.Duration(seconds)*time.Second, lastAskedPause) + time.Duration(len(r.failing))*wakePause
}

// recordState records what /syncz reports of a key.
func (r *runner) recordState(key types.NamespacedName, result outcome, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.onHold, key)
	delete(r.parked, key)
	delete(r.failing, key)
	r.recordPanic(key.String(), err)
	switch result {
	case outcomeSucceeded:
	case outcomeOnHold:
		r.onHold[key] = err.Error()
	case outcomeUnreachable:
		r.parked[key] = true
	case outcomeRefused, outcomeFailed:
		if !apierrors.IsConflict(err) || r.queue.NumRequeues(key) >= lastingFailures {
			r.lastError = fmt.Sprintf("%s: %v", key, err)
			r.failing[key] = err.Error()
		}
	}
	processMetrics().held.WithLabelValues(r.kind.name).Set(float64(len(r.onHold)))
}

// recordPanic records the panic of a key or event, or clears it if err is none. The caller
// holds the lock.
func (r *runner) recordPanic(name string, err error) {
	if caught, ok := errors.AsType[*panicError](err); ok {
		r.panicking[name] = caught.Error()
		return
	}
	delete(r.panicking, name)
}

// requeueParked queues the keys that waited for the host or for the store guard.
// They are spread, so that a host that has just come back is not flooded.
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
	for i, key := range keys {
		if i < r.workers.limit {
			r.enqueue(key)
			continue
		}
		r.recordEvent(key)
		r.queue.AddAfter(key, time.Duration(i-r.workers.limit+1)*wakePause)
	}
}
