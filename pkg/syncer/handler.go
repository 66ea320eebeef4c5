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
func (h *handler) OnAdd(item any, _ bool) { h.queue(item, false) }

// OnUpdate is part of cache.ResourceEventHandler. What the object stood for
// before may have to change too.
func (h *handler) OnUpdate(old, item any) {
	before, after := old.(client.Object), item.(client.Object)
	if before.GetResourceVersion() == after.GetResourceVersion() {
		return
	}
	if h.statusBlind && statusOnly(before, after) {
		h.sawVersion(after)
		return
	}
	earlier, later := h.keysOf(before), h.keysOf(after)
	for _, key := range earlier {
		if !contains(later, key) {
			h.runner.event(key)
		}
	}
	h.add(after, later, false)
}

// OnDelete is part of cache.ResourceEventHandler.
func (h *handler) OnDelete(item any) {
	if unknown, ok := item.(toolscache.DeletedFinalStateUnknown); ok {
		item = unknown.Obj
	}
	h.queue(item, true)
}

// queue queues the keys that an object stands for.
func (h *handler) queue(item any, deleted bool) {
	if object, ok := item.(client.Object); ok {
		h.add(object, h.keysOf(object), deleted)
	}
}

// add queues keys because of an object.
func (h *handler) add(object client.Object, keys []types.NamespacedName, deleted bool) {
	h.sawVersion(object)
	for _, key := range keys {
		if deleted && h.own {
			h.runner.reconciler.memo.forget(h.side, key)
		}
		h.runner.event(key)
	}
}

// sawVersion tells the guard how far the virtual store has come.
func (h *handler) sawVersion(object client.Object) {
	if h.side == Virtual {
		h.runner.guard.saw(object.GetResourceVersion())
	}
}

// statusOnly says that nothing but the status has changed between two states of an
// object. It is false where no generation tells.
func statusOnly(before, after client.Object) bool {
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

// contains says that a key is in a short list.
func contains(keys []types.NamespacedName, key types.NamespacedName) bool {
	for _, k := range keys {
		if k == key {
			return true
		}
	}
	return false
}
