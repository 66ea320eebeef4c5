package syncer

import (
	"context"
	"maps"
	"slices"

	apilabels "k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// selector limits a watch; nil is the usual limit of its side.
type selector = apilabels.Selector

// everythingIf is no limit at all, or the usual one.
func everythingIf(all bool) selector {
	if all {
		return apilabels.Everything()
	}
	return nil
}

// handler turns the events of one watch into keys of one kind.
type handler struct {
	runner *runner
	ctx    context.Context
	side   Side
	// own is set for the kind's own objects, as opposed to those of Also.
	own bool
	// statusBlind is set if the status of the objects means nothing.
	statusBlind bool
	keys        func(Scope, client.Object) []types.NamespacedName
}

// OnAdd is part of cache.ResourceEventHandler.
func (h *handler) OnAdd(item any, _ bool) { h.enqueueObject(item, false) }

// OnUpdate is part of cache.ResourceEventHandler. What the object stood for
// before may have to change too.
func (h *handler) OnUpdate(old, item any) {
	before, after := old.(client.Object), item.(client.Object)
	if before.GetResourceVersion() == after.GetResourceVersion() {
		return
	}
	if h.statusBlind && isStatusOnly(before, after) {
		h.observeRevision(after)
		return
	}
	earlier, later := h.keysOf(before), h.keysOf(after)
	for _, key := range earlier {
		if !slices.Contains(later, key) {
			h.runner.enqueue(key)
		}
	}
	h.enqueueKeys(after, later, false)
}

// OnDelete is part of cache.ResourceEventHandler.
func (h *handler) OnDelete(item any) {
	if unknown, ok := item.(toolscache.DeletedFinalStateUnknown); ok {
		item = unknown.Obj
	}
	h.enqueueObject(item, true)
}

// enqueueObject queues the keys that an object stands for.
func (h *handler) enqueueObject(item any, deleted bool) {
	if object, ok := item.(client.Object); ok {
		h.enqueueKeys(object, h.keysOf(object), deleted)
	}
}

// enqueueKeys queues keys because of an object.
func (h *handler) enqueueKeys(object client.Object, keys []types.NamespacedName, deleted bool) {
	h.observeRevision(object)
	for _, key := range keys {
		if deleted && h.own {
			h.runner.reconciler.expectations.forget(h.side, key)
		}
		h.runner.enqueue(key)
	}
}

// observeRevision tells the guard how far the virtual store has come.
func (h *handler) observeRevision(object client.Object) {
	if h.side == Virtual {
		h.runner.storeGuard.observeRevision(object.GetResourceVersion())
	}
}

// isStatusOnly says that nothing but the status has changed between two states of an
// object. It is false where no generation tells.
func isStatusOnly(before, after client.Object) bool {
	return before.GetGeneration() != 0 && before.GetGeneration() == after.GetGeneration() &&
		before.GetUID() == after.GetUID() &&
		terminating(before) == terminating(after) &&
		maps.Equal(before.GetLabels(), after.GetLabels()) &&
		maps.Equal(before.GetAnnotations(), after.GetAnnotations()) &&
		slices.Equal(before.GetFinalizers(), after.GetFinalizers())
}

// keysOf is the keys that an object stands for.
func (h *handler) keysOf(object client.Object) []types.NamespacedName {
	return h.keys(h.runner.reconciler.scope(h.ctx), object)
}
