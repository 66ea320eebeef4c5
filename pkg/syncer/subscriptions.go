package syncer

import (
	"context"
	"fmt"
	"time"

	apilabels "k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// subscriptions are the watches of a kind and its handlers there.
type subscriptions struct {
	checkers []toolscache.DoneChecker
	undo     []func()
}

// stop removes the handlers and releases the watches.
func (s *subscriptions) stop() {
	for _, undo := range s.undo {
		undo()
	}
}

// subscribeUntilReady starts the watches of the kind. It retries until it succeeds
// or ctx ends: an API server that does not know a type may do so later.
func (r *runner) subscribeUntilReady(ctx context.Context) (*subscriptions, bool) {
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, lastRetry) {
		s := &subscriptions{}
		err := r.subscribeAll(ctx, s)
		if err == nil {
			return s, true
		}
		s.stop()
		r.virtualReader.releaseAll()
		r.hostReader.releaseAll()
		r.setStartError(err)
		select {
		case <-ctx.Done():
			return &subscriptions{}, false
		case <-r.clock.After(pause):
		}
	}
}

// subscribeAll starts the watches of the kind and adds its indexes.
func (r *runner) subscribeAll(ctx context.Context, s *subscriptions) error {
	like, err := r.virtualLike()
	if err != nil {
		return err
	}
	virtual, err := r.subscribe(ctx, s, r.virtualReader, like, nil, Place{},
		&handler{own: true, statusBlind: r.kind.statusBlind, keys: r.ownKey})
	if err != nil {
		return err
	}
	host, err := r.subscribeHost(ctx, s)
	if err != nil {
		return err
	}
	r.virtualStore.set(virtual)
	r.hostStore.set(host...)
	all := append([]*sharedWatch{virtual}, host...)
	for _, also := range r.kind.also {
		reader, sel := r.virtualReader, apilabels.Selector(nil)
		if also.Side == Host {
			reader = r.hostReader
			if also.All {
				sel = apilabels.Everything()
			}
		}
		w, err := r.subscribe(ctx, s, reader, also.Object, sel, Place{}, &handler{statusBlind: also.StatusBlind, keysOnly: also.KeysOnly, keys: also.Keys})
		if err != nil {
			return err
		}
		all = append(all, w)
	}
	if err := r.addIndexes(); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.watches, r.startErr = all, ""
	return nil
}

// virtualLike returns an empty virtual object in the form in which it is cached.
func (r *runner) virtualLike() (client.Object, error) {
	like := r.kind.newVirtual()
	if !r.kind.metadataOnly {
		return like, nil
	}
	return metadataLike(r.virtualReader.watches.scheme, like)
}

// addIndexes adds the indexes of the kind to the watches of their types.
func (r *runner) addIndexes() error {
	for _, index := range r.kind.indexes {
		reader := r.virtualReader
		if index.Side == Host {
			reader = r.hostReader
		}
		w, err := reader.watchFor(index.Object)
		if err != nil {
			return err
		}
		if err := reader.watches.addIndex(w, r.withoutPanic(index)); err != nil {
			return err
		}
	}
	return nil
}

// ownKey returns the key of a virtual object.
func (r *runner) ownKey(_ Scope, virtual client.Object) ([]types.NamespacedName, error) {
	return []types.NamespacedName{client.ObjectKeyFromObject(virtual)}, nil
}

// originKey returns the virtual key of a host object if it is our copy.
func (r *runner) originKey(s Scope, host client.Object) ([]types.NamespacedName, error) {
	key, ours, err := r.originOf(s, host)
	if err != nil || !ours {
		return nil, err
	}
	return []types.NamespacedName{key}, nil
}

// subscribe acquires a watch, lets the kind read from it and adds h to it.
func (r *runner) subscribe(ctx context.Context, s *subscriptions, reader *scopeReader, like client.Object, sel apilabels.Selector, place Place, h *handler) (*sharedWatch, error) {
	w, err := reader.watches.acquire(like, sel, place)
	if err != nil {
		return nil, err
	}
	s.undo = append(s.undo, func() { reader.watches.release(w) })
	if err := reader.declare(like, w); err != nil {
		return nil, err
	}
	h.runner, h.ctx, h.side = r, ctx, reader.watches.side
	h.what = "event of " + w.name
	registration, err := w.informer.AddEventHandlerWithOptions(h, toolscache.HandlerOptions{})
	if err != nil {
		return nil, fmt.Errorf("cannot watch %s: %w", w.name, err)
	}
	s.undo = append(s.undo, func() { _ = w.informer.RemoveEventHandler(registration) })
	s.checkers = append(s.checkers, registration.HasSyncedChecker())
	return w, nil
}

// setStartError records why the watches do not start and logs it when it is new.
func (r *runner) setStartError(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if text := err.Error(); text != r.startErr {
		r.startErr = text
		r.log.Info("Cannot start kind, retrying", "err", text)
	}
}

// subscribeHost starts the watches of the kind's host objects.
func (r *runner) subscribeHost(ctx context.Context, s *subscriptions) ([]*sharedWatch, error) {
	places := r.kind.places
	if places == nil {
		places = []Place{{}}
	}
	var all []*sharedWatch
	for _, place := range places {
		if r.kind.places != nil {
			place = place.withNamespace(r.hostReader.watches.namespace)
		}
		w, err := r.subscribe(ctx, s, r.hostReader, r.kind.newHost(), r.kind.selector, place,
			&handler{own: true, isHeartbeat: r.kind.isHeartbeat, keys: r.originKey})
		if err != nil {
			return nil, err
		}
		all = append(all, w)
	}
	return all, nil
}
