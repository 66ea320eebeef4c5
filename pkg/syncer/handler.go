package syncer

import (
	"context"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/translate"
)

// handler turns the events of one watch into keys of one kind.
type handler struct {
	runner *runner
	ctx    context.Context //nolint:containedctx // An event handler is called without one.
	side   Side
	what   string // "event of SIDE TYPE", for messages
	// own is true for the kind's own objects, false for objects of [Resource.Also].
	own bool
	// statusBlind is true if the status of the objects is of no use to the kind.
	statusBlind bool
	// keysOnly is true if an update that keeps the keys means nothing to the kind.
	keysOnly bool
	// isHeartbeat reports whether an update means nothing to the kind. nil ignores none.
	isHeartbeat func(before, after client.Object) bool
	keys        func(Scope, client.Object) ([]types.NamespacedName, error)
}

// OnAdd implements cache.ResourceEventHandler.
func (h *handler) OnAdd(item any, _ bool) {
	h.countCopy(item)
	h.enqueueObject(item, eventAdded)
}

// countCopy enters a copy on the host into the ledger.
func (h *handler) countCopy(item any) {
	r := h.runner.reconciler
	if object, ok := item.(client.Object); ok && h.countsCopies() {
		r.ledger.observe(r.copyResource, client.ObjectKeyFromObject(object), sizeOf(object))
	}
}

// countsCopies reports whether the objects of the watch are copies in the ledger.
func (h *handler) countsCopies() bool {
	r := h.runner.reconciler
	return h.own && h.side == Host && r.ledger != nil && r.copyResource != ""
}

// releaseCopy removes a deleted copy from the ledger and lets refused copies retry.
func (h *handler) releaseCopy(item any) {
	r := h.runner.reconciler
	if object, ok := item.(client.Object); ok && h.countsCopies() {
		r.ledger.forget(r.copyResource, client.ObjectKeyFromObject(object))
		r.ledger.onFreed(r.copyResource)
	}
}

// OnUpdate implements cache.ResourceEventHandler. It also enqueues the keys that
// the object had before.
func (h *handler) OnUpdate(old, item any) {
	before, after := old.(client.Object), item.(client.Object)
	if before.GetResourceVersion() == after.GetResourceVersion() {
		return
	}
	h.observeRevision(after)
	h.countChange(before, after)
	if h.statusBlind && isStatusOnly(before, after) || h.isIgnored(before, after) {
		return
	}
	earlier, err := h.keysOf(before)
	if err != nil {
		h.runner.retryEvent(h, before, err)
	}
	later, err := h.keysOf(after)
	if err != nil {
		h.runner.retryEvent(h, after, err)
	}
	h.enqueueKeys(earlier, later)
}

// enqueueKeys enqueues the keys that an object had and has. With keysOnly, those that it had before and after are left out. An
// object of a tenant may have very many.
func (h *handler) enqueueKeys(earlier, later []types.NamespacedName) {
	if h.keysOnly && slices.Equal(earlier, later) {
		return
	}
	earlierKeys, laterKeys := sets.New(earlier...), sets.New(later...)
	for _, key := range earlier {
		if !laterKeys.Has(key) {
			h.runner.enqueue(key)
		}
	}
	if h.keysOnly {
		later = slices.DeleteFunc(later, earlierKeys.Has)
	}
	for _, key := range later {
		h.runner.enqueue(key)
	}
}

// minFreedBytes is how many bytes smaller a copy must become to let refused copies retry.
const minFreedBytes = 1 << 10

// countChange enters the new size of a copy on the host into the ledger. Refused copies retry
// if the copy has become smaller, or is a pod that has finished.
func (h *handler) countChange(before, after client.Object) {
	if !h.countsCopies() {
		return
	}
	h.countCopy(after)
	if sizeOf(before)-sizeOf(after) >= minFreedBytes || isFinishedPod(after) && !isFinishedPod(before) {
		h.runner.reconciler.ledger.onFreed(h.runner.reconciler.copyResource)
	}
}

// isFinishedPod reports whether an object is a pod that has finished. Quotas of the host no
// longer count it.
func isFinishedPod(object client.Object) bool {
	pod, ok := object.(*corev1.Pod)
	return ok && translate.IsFinished(pod)
}

// isIgnored reports whether an update means nothing to the kind. After a panic of the
// kind's function the update counts.
func (h *handler) isIgnored(before, after client.Object) (ignored bool) {
	if h.isHeartbeat == nil {
		return false
	}
	var err error
	defer h.runner.recoverPanic("heartbeat of "+h.what, client.ObjectKeyFromObject(after), &err)
	return h.isHeartbeat(before, after)
}

// OnDelete implements cache.ResourceEventHandler.
func (h *handler) OnDelete(item any) {
	if unknown, ok := item.(toolscache.DeletedFinalStateUnknown); ok {
		h.releaseCopy(unknown.Obj)
		// An object that is missing from a list proves less than an event: the list may be stale.
		h.enqueueObject(unknown.Obj, eventMissing)
		return
	}
	h.releaseCopy(item)
	h.enqueueObject(item, eventDeleted)
}

// watchEvent is what a watch delivers about an object.
type watchEvent int

const (
	eventAdded watchEvent = iota
	// eventDeleted is an event of the API server.
	eventDeleted
	// eventMissing is the absence of an object from a list.
	eventMissing
)

// enqueueObject enqueues the keys of an object.
func (h *handler) enqueueObject(item any, what watchEvent) {
	object, ok := item.(client.Object)
	if !ok {
		return
	}
	h.observeRevision(object)
	keys, err := h.keysOf(object)
	if err != nil {
		h.runner.retryEvent(h, object, err)
	}
	for _, key := range keys {
		if h.own {
			h.recordSighting(key, object, what)
		}
		h.runner.enqueue(key)
	}
}

// recordSighting records what an event of one of the kind's own objects proves. Nothing more is
// expected of an object that is gone.
func (h *handler) recordSighting(key types.NamespacedName, object client.Object, what watchEvent) {
	switch what {
	case eventAdded:
		h.runner.reconciler.recordAdded(h.side, key)
	case eventDeleted:
		h.runner.reconciler.recordDeleted(h.side, key, object)
		h.runner.reconciler.expectations.forget(h.side, key)
	case eventMissing:
		h.runner.reconciler.expectations.forget(h.side, key)
	}
}

// observeRevision passes the version of a virtual object to the store guard.
func (h *handler) observeRevision(object client.Object) {
	if h.side == Virtual {
		h.runner.storeGuard.observeRevision(object.GetResourceVersion())
	}
}

// isStatusOnly reports whether nothing but the status differs between two states
// of an object. It is false for types without a generation.
func isStatusOnly(before, after client.Object) bool {
	return before.GetGeneration() != 0 && before.GetGeneration() == after.GetGeneration() &&
		before.GetUID() == after.GetUID() &&
		isTerminating(before) == isTerminating(after) &&
		maps.Equal(before.GetLabels(), after.GetLabels()) &&
		maps.Equal(before.GetAnnotations(), after.GetAnnotations()) &&
		slices.Equal(before.GetFinalizers(), after.GetFinalizers())
}

// keysOf returns the virtual keys to reconcile because of an object. A panic of
// the kind's function is returned as an error.
func (h *handler) keysOf(object client.Object) (keys []types.NamespacedName, err error) {
	defer h.runner.recoverPanic(h.what, client.ObjectKeyFromObject(object), &err)
	return h.keys(h.runner.reconciler.scope(h.ctx), object)
}

// describe names an event of object in logs and reports.
func (h *handler) describe(object client.Object) string {
	return h.what + " " + client.ObjectKeyFromObject(object).String()
}
