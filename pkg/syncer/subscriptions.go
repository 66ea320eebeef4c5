package syncer

import (
	"context"
	"fmt"
	"time"

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
	virtual, err := r.subscribe(ctx, s, r.virtual, r.kind.newVirtual(), nil, nil,
		&handler{own: true, statusBlind: r.kind.statusBlind, keys: r.ownKey})
	if err != nil {
		return err
	}
	host, err := r.subscribe(ctx, s, r.host, r.kind.newHost(), r.kind.sel, r.trimWithoutPanic(),
		&handler{own: true, keys: r.originKey})
	if err != nil {
		return err
	}
	r.virtualStore.watch.Store(virtual)
	r.hostStore.watch.Store(host)
	all := []*sharedWatch{virtual, host}
	for _, also := range r.kind.also {
		side, sel := r.virtual, selectorFor(false)
		if also.Side == Host {
			side, sel = r.host, selectorFor(also.All)
		}
		w, err := r.subscribe(ctx, s, side, also.Object, sel, nil, &handler{statusBlind: also.StatusBlind, keys: also.Keys})
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

// addIndexes adds the indexes of the kind to the watches of their types.
func (r *runner) addIndexes() error {
	for _, index := range r.kind.indexes {
		side := r.virtual
		if index.Side == Host {
			side = r.host
		}
		w, err := side.watchFor(index.Object)
		if err != nil {
			return err
		}
		if err := side.addIndex(w, r.withoutPanic(index)); err != nil {
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

// subscribe acquires a watch and adds h to it.
func (r *runner) subscribe(ctx context.Context, s *subscriptions, side *sharedWatches, like client.Object, sel selector, trim func(client.Object), h *handler) (*sharedWatch, error) {
	w, err := side.acquire(like, sel, trim)
	if err != nil {
		return nil, err
	}
	s.undo = append(s.undo, func() { side.release(w) })
	h.runner, h.ctx, h.side = r, ctx, side.side
	h.what = fmt.Sprintf("event of %s %s", side.side, w.gvk.Kind)
	registration, err := w.informer.AddEventHandlerWithOptions(h, toolscache.HandlerOptions{})
	if err != nil {
		return nil, fmt.Errorf("cannot watch %s %s: %w", side.side, w.gvk.Kind, err)
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
