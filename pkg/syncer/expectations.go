package syncer

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// expectationLife is how long the memo of a write is believed. A watch that is later
// than that has other troubles, and the reconcile does without the memo.
const expectationLife = 5 * time.Second

// expectations remembers what the engine wrote a moment ago and the caches do not show
// yet. Without it a reconcile in between would write the same again, be told
// that the object is there already, and look at it. It only saves requests: a
// reconcile without any memory comes to the same end.
type expectations struct {
	clock clock.PassiveClock

	mu      sync.Mutex
	writes  map[expectationKey]expectedWrite
	awaited map[types.NamespacedName]awaitedChange
}

// awaitedChange is that a host object was changed ahead of its virtual object, which
// had this version then.
type awaitedChange struct {
	version string
	at      time.Time
}

type expectationKey struct {
	side Side
	key  types.NamespacedName
}

type expectedWrite struct {
	uid     types.UID
	version string
	at      time.Time
	// newer is set when the write has made a version after this one, without
	// saying which.
	newer bool
	// deleted is set when the write was a delete, with the grace period it gave.
	deleted bool
	grace   *int64
}

func newExpectations(c clock.PassiveClock) *expectations {
	return &expectations{clock: c, writes: map[expectationKey]expectedWrite{}, awaited: map[types.NamespacedName]awaitedChange{}}
}

// recordWrite notes that object is what the API server answered to a write.
func (m *expectations) recordWrite(side Side, key types.NamespacedName, object client.Object) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.writes[expectationKey{side, key}] = expectedWrite{
		uid: object.GetUID(), version: object.GetResourceVersion(), at: m.clock.Now(),
	}
}

// recordNewerWrite notes that a write has made a newer version of object, where the API
// server does not answer with the object, as to a binding.
func (m *expectations) recordNewerWrite(side Side, key types.NamespacedName, object client.Object) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.writes[expectationKey{side, key}] = expectedWrite{
		uid: object.GetUID(), version: object.GetResourceVersion(), at: m.clock.Now(), newer: true,
	}
}

// recordDelete notes that the deletion of object was asked for.
func (m *expectations) recordDelete(side Side, key types.NamespacedName, object client.Object, grace *int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.writes[expectationKey{side, key}] = expectedWrite{uid: object.GetUID(), at: m.clock.Now(), deleted: true, grace: grace}
}

// await notes that the host copy of a virtual object is about to change ahead
// of it.
func (m *expectations) await(key types.NamespacedName, virtual client.Object) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.awaited[key] = awaitedChange{version: virtual.GetResourceVersion(), at: m.clock.Now()}
}

// cancelAwait takes back what changing noted.
func (m *expectations) cancelAwait(key types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.awaited, key)
}

// isAwaited says that the host copy of a virtual object is ahead of it, as seen
// is what a cache shows of the virtual one. A reconcile would take the change back
// that is just on its way.
func (m *expectations) isAwaited(key types.NamespacedName, seen client.Object) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	a, ok := m.awaited[key]
	if !ok {
		return false
	}
	order, err := resourceversion.CompareResourceVersion(seen.GetResourceVersion(), a.version)
	if err != nil || order > 0 || m.clock.Since(a.at) >= expectationLife {
		delete(m.awaited, key)
		return false
	}
	return true
}

// forget drops what is known of a key: its object is gone, as a watch says.
func (m *expectations) forget(side Side, key types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.writes, expectationKey{side, key})
}

// isStale says that a cache does not show the last write yet, if seen is what it
// shows for key; nil is nothing.
func (m *expectations) isStale(side Side, key types.NamespacedName, seen client.Object) bool {
	w, ok := m.lookup(side, key)
	if !ok || w.deleted {
		return false
	}
	if seen == nil {
		return true
	}
	// Versions order the objects of one name, be they one object or two.
	order, err := resourceversion.CompareResourceVersion(seen.GetResourceVersion(), w.version)
	if err == nil && (order < 0 || order == 0 && w.newer) {
		return true
	}
	m.forget(side, key)
	return false
}

// isDeletePending says that object was just deleted with the same or a shorter grace
// period, so that there is no need to ask for it again.
func (m *expectations) isDeletePending(side Side, key types.NamespacedName, object client.Object, grace *int64) bool {
	w, ok := m.lookup(side, key)
	if !ok || !w.deleted || w.uid != object.GetUID() {
		return false
	}
	return grace == nil || w.grace != nil && *w.grace <= *grace
}

// lookup is the write noted for a key, unless it is too long ago.
func (m *expectations) lookup(side Side, key types.NamespacedName) (expectedWrite, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	w, ok := m.writes[expectationKey{side, key}]
	if ok && m.clock.Since(w.at) >= expectationLife {
		delete(m.writes, expectationKey{side, key})
		return expectedWrite{}, false
	}
	return w, ok
}
