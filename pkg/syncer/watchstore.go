package syncer

import (
	"slices"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// watchStore is a store that reads from the watches of a kind. It is empty until they
// start, because admission may ask for an object before the kind runs. Most kinds have one
// watch; kinds with Places have one per place.
type watchStore struct {
	watches atomic.Pointer[[]*sharedWatch]
}

// set sets the watches of the store.
func (l *watchStore) set(watches ...*sharedWatch) { l.watches.Store(&watches) }

// list returns the watches of the store.
func (l *watchStore) list() []*sharedWatch {
	if watches := l.watches.Load(); watches != nil {
		return *watches
	}
	return nil
}

// has reports whether a watch is one of the store.
func (l *watchStore) has(w *sharedWatch) bool { return slices.Contains(l.list(), w) }

// Get implements store.
func (l *watchStore) Get(key types.NamespacedName) client.Object {
	for _, w := range l.list() {
		if found := w.Get(key); found != nil {
			return found
		}
	}
	return nil
}

// List implements store.
func (l *watchStore) List() []client.Object {
	watches := l.list()
	if len(watches) == 1 {
		return watches[0].List()
	}
	var all []client.Object
	for _, w := range watches {
		all = append(all, w.List()...)
	}
	return all
}
