package virtualscheduler

import (
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
)

// waits wakes those who wait for a change of a virtual pod. Each gets every state
// of the pod that the watch shows, the newest first: a pod may be bound, run and
// be gone before a binding has had its turn on the processor.
type waits struct {
	backoff *backoff

	mu  sync.Mutex
	all map[types.UID]*wait
}

// wait is one who waits.
type wait struct {
	changed chan struct{}

	mu    sync.Mutex
	pod   *corev1.Pod // the newest state
	bound bool        // the pod has had a node
	gone  bool
}

func newWaits(b *backoff) *waits {
	return &waits{backoff: b, all: map[types.UID]*wait{}}
}

// begin waits for the pod. known is the state that a cache has of it, nil if none.
func (w *waits) begin(pod types.UID, known func() *corev1.Pod) *wait {
	one := &wait{changed: make(chan struct{}, 1)}
	w.mu.Lock()
	w.all[pod] = one
	w.mu.Unlock()
	// After it is on the list, so that nothing is missed in between.
	if state := known(); state == nil || state.UID != pod {
		one.tell(nil, true)
	} else {
		one.first(state)
	}
	return one
}

// end ends a wait.
func (w *waits) end(pod types.UID, one *wait) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all[pod] == one {
		delete(w.all, pod)
	}
}

// handler passes on what the watch of the virtual pods shows.
func (w *waits) handler() cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(o any) { w.event(o, false) },
		UpdateFunc: func(old, o any) {
			if before, is := old.(*corev1.Pod); is {
				if after, is := o.(*corev1.Pod); is && before.UID != after.UID {
					w.event(old, true)
				}
			}
			w.event(o, false)
		},
		DeleteFunc: func(o any) {
			if tombstone, is := o.(cache.DeletedFinalStateUnknown); is {
				o = tombstone.Obj
			}
			w.event(o, true)
		},
	}
}

func (w *waits) event(o any, gone bool) {
	pod, is := o.(*corev1.Pod)
	if !is {
		return
	}
	if gone || pod.Spec.NodeName != "" {
		w.backoff.forget(pod.UID)
	}
	if gone && pod.Spec.NodeName != "" {
		w.backoff.roomier(pod.Spec.NodeName)
	}
	w.mu.Lock()
	one := w.all[pod.UID]
	w.mu.Unlock()
	if one != nil {
		one.tell(pod, gone)
	}
}

// nodeHandler passes on which nodes are new or offer more than before. The scheduler
// hears of it too, but not for pods that wait for the host's answer meanwhile.
func (w *waits) nodeHandler() cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { w.backoff.added() },
		UpdateFunc: func(old, o any) {
			before, is := old.(*corev1.Node)
			after, are := o.(*corev1.Node)
			if is && are && offersMore(before.Status.Allocatable, after.Status.Allocatable) {
				w.backoff.roomier(after.Name)
			}
		},
	}
}

func offersMore(before, after corev1.ResourceList) bool {
	for name, quantity := range after {
		if quantity.Cmp(before[name]) > 0 {
			return true
		}
	}
	return false
}

// first is tell for the state that was there before any event.
func (o *wait) first(pod *corev1.Pod) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.pod == nil {
		o.pod, o.bound = pod, o.bound || pod.Spec.NodeName != ""
	}
}

func (o *wait) tell(pod *corev1.Pod, gone bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if pod != nil {
		o.pod, o.bound = pod, o.bound || pod.Spec.NodeName != ""
	}
	o.gone = o.gone || gone
	select {
	case o.changed <- struct{}{}:
	default:
	}
}

// state is the newest state of the pod, whether it has ever had a node, and
// whether it is gone.
func (o *wait) state() (pod *corev1.Pod, bound, gone bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.pod, o.bound, o.gone
}
