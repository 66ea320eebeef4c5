package syncer

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// expectationLife is how long an expectation holds. A watch that is later than that
// has other troubles, and the reconcile does without.
const expectationLife = 5 * time.Second

// expectations remembers what the engine wrote and the caches do not show yet.
// Without it, a reconcile in between would send the same request again. It only saves
// requests: a reconcile without any memory comes to the same end.
type expectations struct {
	mu     sync.Mutex
	writes *recent[expectationKey, expectedWrite]
	// awaited has the virtual objects whose host object was changed ahead of them.
	awaited *recent[types.NamespacedName, string] // key -> version of the virtual object then
}

// expectationKey identifies an object of the kind on one side.
type expectationKey struct {
	side Side
	key  types.NamespacedName
}

// expectedWrite is a write whose result a cache will show.
type expectedWrite struct {
	uid     types.UID
	version string
	// newer is true if the write has created a version after this one that its answer
	// did not name.
	newer bool
	// deleted is true if the write was a delete, with the grace period grace.
	deleted bool
	grace   *int64
}

func newExpectations(c clock.PassiveClock) *expectations {
	return &expectations{
		writes:  newRecent[expectationKey, expectedWrite](c, expectationLife),
		awaited: newRecent[types.NamespacedName, string](c, expectationLife),
	}
}

// recordWrite records that the API server answered a write with object.
func (m *expectations) recordWrite(side Side, key types.NamespacedName, object client.Object) {
	m.record(side, key, expectedWrite{uid: object.GetUID(), version: object.GetResourceVersion()})
}

// recordNewerWrite records that a write has created a newer version of object. It is
// for requests that are not answered with the object, such as a binding.
func (m *expectations) recordNewerWrite(side Side, key types.NamespacedName, object client.Object) {
	m.record(side, key, expectedWrite{uid: object.GetUID(), version: object.GetResourceVersion(), newer: true})
}

// recordDelete records that the deletion of object was requested.
func (m *expectations) recordDelete(side Side, key types.NamespacedName, object client.Object, grace *int64) {
	m.record(side, key, expectedWrite{uid: object.GetUID(), deleted: true, grace: grace})
}

// record records a write.
func (m *expectations) record(side Side, key types.NamespacedName, w expectedWrite) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.writes.set(expectationKey{side, key}, w)
}

// forget drops what is expected of a key whose object is gone.
func (m *expectations) forget(side Side, key types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.writes.delete(expectationKey{side, key})
}

// await records that the host object of a virtual one is about to change ahead of it.
func (m *expectations) await(key types.NamespacedName, virtual client.Object) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.awaited.set(key, virtual.GetResourceVersion())
}

// cancelAwait drops what await recorded.
func (m *expectations) cancelAwait(key types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.awaited.delete(key)
}

// isAwaited reports whether the host object of a virtual one is ahead of it. seen is
// what a cache shows of the virtual one. A reconcile would undo a change that is on
// its way.
func (m *expectations) isAwaited(key types.NamespacedName, seen client.Object) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	version, ok := m.awaited.get(key)
	if !ok {
		return false
	}
	if order, err := resourceversion.CompareResourceVersion(seen.GetResourceVersion(), version); err != nil || order > 0 {
		m.awaited.delete(key)
		return false
	}
	return true
}

// isStale reports whether a cache does not show the last write yet. seen is what it
// shows for key, nil for nothing.
func (m *expectations) isStale(side Side, key types.NamespacedName, seen client.Object) bool {
	w, ok := m.lookup(side, key)
	if !ok || w.deleted {
		return false
	}
	if seen == nil {
		return true
	}
	// Versions order the objects of one name, whether they are one object or two.
	order, err := resourceversion.CompareResourceVersion(seen.GetResourceVersion(), w.version)
	if err == nil && (order < 0 || order == 0 && w.newer) {
		return true
	}
	m.forget(side, key)
	return false
}

// isDeletePending reports whether the deletion of object with the same or a shorter
// grace period was just requested.
func (m *expectations) isDeletePending(side Side, key types.NamespacedName, object client.Object, grace *int64) bool {
	w, ok := m.lookup(side, key)
	if !ok || !w.deleted || w.uid != object.GetUID() {
		return false
	}
	return grace == nil || w.grace != nil && *w.grace <= *grace
}

// lookup returns the last write of a key, unless it is too long ago.
func (m *expectations) lookup(side Side, key types.NamespacedName) (expectedWrite, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.writes.get(expectationKey{side, key})
}
