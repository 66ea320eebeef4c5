package virtualscheduler

import (
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
)

// podWaiters pass the changes of virtual pods to those who wait for them. A pod may be
// bound, run and be gone before a binding gets its turn on the processor. So a waiter
// keeps the newest state and whether the pod was ever bound.
type podWaiters struct {
	backoff *nodeBackoff
	panics  *attemptPanics

	mu  sync.Mutex
	all map[types.UID]*podWaiter // pod -> its waiter
}

// podWaiter waits for changes of one pod.
type podWaiter struct {
	changed chan struct{}

	mu    sync.Mutex
	pod   *corev1.Pod // the newest state
	bound bool        // the pod has had a node
	gone  bool
}

// newPodWaiters returns an empty set of waiters.
func newPodWaiters(b *nodeBackoff) *podWaiters {
	return &podWaiters{backoff: b, panics: newAttemptPanics(), all: map[types.UID]*podWaiter{}}
}

// add starts to wait for changes of the pod. cached returns the pod's state in a
// cache, nil if there is none.
func (w *podWaiters) add(pod types.UID, cached func() *corev1.Pod) *podWaiter {
	waiter := &podWaiter{changed: make(chan struct{}, 1)}
	w.mu.Lock()
	w.all[pod] = waiter
	w.mu.Unlock()
	// The cache is read after the waiter is listed, so that no change is missed.
	if state := cached(); state == nil || state.UID != pod {
		waiter.notifyGone(nil)
	} else {
		waiter.setInitial(state)
	}
	return waiter
}

// removeWaiter stops to wait.
func (w *podWaiters) removeWaiter(pod types.UID, waiter *podWaiter) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all[pod] == waiter {
		delete(w.all, pod)
	}
}

// podHandler returns the handler of the watch of virtual pods.
func (w *podWaiters) podHandler() cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(object any) { w.observe(object) },
		UpdateFunc: func(old, object any) {
			before, ok := old.(*corev1.Pod)
			after, afterOK := object.(*corev1.Pod)
			if ok && afterOK && before.UID != after.UID {
				w.observeDeleted(old)
			}
			w.observe(object)
		},
		DeleteFunc: func(object any) {
			if tombstone, ok := object.(cache.DeletedFinalStateUnknown); ok {
				object = tombstone.Obj
			}
			w.observeDeleted(object)
		},
	}
}

// observe handles one state of a pod.
func (w *podWaiters) observe(object any) {
	defer recoverEvent("pod event")
	pod, ok := object.(*corev1.Pod)
	if !ok {
		return
	}
	if pod.Spec.NodeName != "" {
		w.backoff.forget(pod.UID)
		w.panics.forget(pod.UID)
	}
	if waiter := w.waiterOf(pod.UID); waiter != nil {
		waiter.notify(pod)
	}
}

// observeDeleted handles the last state of a deleted pod.
func (w *podWaiters) observeDeleted(object any) {
	defer recoverEvent("pod event")
	pod, ok := object.(*corev1.Pod)
	if !ok {
		return
	}
	w.backoff.forget(pod.UID)
	w.panics.forget(pod.UID)
	if pod.Spec.NodeName != "" {
		w.backoff.retryNode(pod.Spec.NodeName)
	}
	if waiter := w.waiterOf(pod.UID); waiter != nil {
		waiter.notifyGone(pod)
	}
}

// waiterOf returns the waiter of a pod, nil if nobody waits for it.
func (w *podWaiters) waiterOf(pod types.UID) *podWaiter {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.all[pod]
}

// nodeHandler returns the handler of the watch of virtual nodes. It retries pods on
// nodes that are new or offer more than before. The scheduler's own handlers do not
// do so for pods that wait for the host's answer meanwhile.
func (w *podWaiters) nodeHandler() cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) {
			defer recoverEvent("node event")
			w.backoff.retryAll()
		},
		UpdateFunc: func(old, object any) {
			defer recoverEvent("node event")
			before, ok := old.(*corev1.Node)
			after, afterOK := object.(*corev1.Node)
			if ok && afterOK && offersMore(before.Status.Allocatable, after.Status.Allocatable) {
				w.backoff.retryNode(after.Name)
			}
		},
	}
}

// offersMore reports whether there is more of any resource than before.
func offersMore(before, after corev1.ResourceList) bool {
	for name, quantity := range after {
		if quantity.Cmp(before[name]) > 0 {
			return true
		}
	}
	return false
}

// setInitial sets the state from before any event. A newer one stays.
func (w *podWaiter) setInitial(pod *corev1.Pod) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.pod == nil {
		w.setLast(pod)
	}
}

// notify records a state of the pod and wakes the waiter.
func (w *podWaiter) notify(pod *corev1.Pod) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.setLast(pod)
	w.signal()
}

// notifyGone records that the pod is gone and wakes the waiter. pod is its last state, nil if that is not known.
func (w *podWaiter) notifyGone(pod *corev1.Pod) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if pod != nil {
		w.setLast(pod)
	}
	w.gone = true
	w.signal()
}

// setLast sets the newest state. The caller holds the lock.
func (w *podWaiter) setLast(pod *corev1.Pod) {
	w.pod, w.bound = pod, w.bound || pod.Spec.NodeName != ""
}

// signal wakes the waiter. The caller holds the lock.
func (w *podWaiter) signal() {
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// state returns the newest state of the pod, whether it has ever had a node, and
// whether it is gone.
func (w *podWaiter) state() (pod *corev1.Pod, bound, gone bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pod, w.bound, w.gone
}
