package syncer

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// expectationLife is how long an expectation of a cache that shows nothing is valid. If a watch is even later,
// the reconcile no longer waits for it.
const expectationLife = 5 * time.Second

// lateLife is how long a reconcile waits for a cache that shows an older version than the last write. Such a cache is
// late for certain, and a reconcile would undo the write. A cache that shows nothing may be right.
const lateLife = time.Minute

// expectations remembers writes of the engine that the caches do not show yet. Without it, a
// reconcile in between would send the same request again. It only saves requests: without
// it, the result is the same.
type expectations struct {
	clock  clock.PassiveClock
	mu     sync.Mutex
	writes *recent[sideKey, expectedWrite]
	// awaited has the virtual objects whose host object was changed before them.
	awaited *recent[types.NamespacedName, string] // key -> version of the virtual object then
}

// sideKey identifies an object of the kind on one side.
type sideKey struct {
	side Side
	key  types.NamespacedName
}

// expectedWrite is a write whose result a cache will show.
type expectedWrite struct {
	at      time.Time
	uid     types.UID
	version string
	// newer is true if the write has created an unknown version later than version.
	newer bool
	// deleted is true if the write was a delete, with the grace period grace.
	deleted bool
	grace   *int64
}

func newExpectations(c clock.PassiveClock) *expectations {
	return &expectations{
		clock:   c,
		writes:  newRecent[sideKey, expectedWrite](c, lateLife),
		awaited: newRecent[types.NamespacedName, string](c, expectationLife),
	}
}

// recordWrite records that the API server returned object for a write.
func (e *expectations) recordWrite(side Side, key types.NamespacedName, object client.Object) {
	e.record(side, key, expectedWrite{uid: object.GetUID(), version: object.GetResourceVersion()})
}

// recordNewerWrite records that a write has created a newer version of object. It is for
// requests that do not return the object, such as a binding.
func (e *expectations) recordNewerWrite(side Side, key types.NamespacedName, object client.Object) {
	e.record(side, key, expectedWrite{uid: object.GetUID(), version: object.GetResourceVersion(), newer: true})
}

// recordDelete records that the deletion of object was requested.
func (e *expectations) recordDelete(side Side, key types.NamespacedName, object client.Object, grace *int64) {
	e.record(side, key, expectedWrite{uid: object.GetUID(), deleted: true, grace: grace})
}

// record records a write.
func (e *expectations) record(side Side, key types.NamespacedName, w expectedWrite) {
	e.mu.Lock()
	defer e.mu.Unlock()
	w.at = e.clock.Now()
	e.writes.set(sideKey{side, key}, w)
}

// forget drops what is expected of a key whose object is gone.
func (e *expectations) forget(side Side, key types.NamespacedName) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.writes.delete(sideKey{side, key})
}

// await records that the host object is about to change before its virtual object.
func (e *expectations) await(key types.NamespacedName, virtual client.Object) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.awaited.set(key, virtual.GetResourceVersion())
}

// cancelAwait drops what await recorded.
func (e *expectations) cancelAwait(key types.NamespacedName) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.awaited.delete(key)
}

// isAwaited reports whether the virtual object has yet to follow a change of its host object.
// seen is the virtual object in the cache.
func (e *expectations) isAwaited(key types.NamespacedName, seen client.Object) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	version, ok := e.awaited.get(key)
	if !ok {
		return false
	}
	if order, err := resourceversion.CompareResourceVersion(seen.GetResourceVersion(), version); err != nil || order > 0 {
		e.awaited.delete(key)
		return false
	}
	return true
}

// isStale reports whether a cache does not show the last write yet. seen is what it
// shows for key, nil for nothing.
func (e *expectations) isStale(side Side, key types.NamespacedName, seen client.Object) bool {
	w, ok := e.lookup(side, key)
	if !ok || w.deleted {
		return false
	}
	if seen == nil {
		return e.isRecent(w)
	}
	// Versions can be compared even if the object was deleted and created again.
	order, err := resourceversion.CompareResourceVersion(seen.GetResourceVersion(), w.version)
	if err == nil && (order < 0 || order == 0 && w.newer) {
		return true
	}
	e.forget(side, key)
	return false
}

// isDeletePending reports whether the deletion of object with the same or a shorter
// grace period was just requested.
func (e *expectations) isDeletePending(side Side, key types.NamespacedName, object client.Object, grace *int64) bool {
	w, ok := e.lookup(side, key)
	if !ok || !w.deleted || w.uid != object.GetUID() || !e.isRecent(w) {
		return false
	}
	return grace == nil || w.grace != nil && *w.grace <= *grace
}

// isRecent reports whether a write is no longer ago than expectationLife.
func (e *expectations) isRecent(w expectedWrite) bool { return e.clock.Since(w.at) < expectationLife }

// lookup returns the last write of a key, unless it is too long ago.
func (e *expectations) lookup(side Side, key types.NamespacedName) (expectedWrite, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.writes.get(sideKey{side, key})
}
