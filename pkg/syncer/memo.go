package syncer

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// memoLife is how long the memo of a write is believed. A watch that is later
// than that has other troubles, and the reconcile does without the memo.
const memoLife = 5 * time.Second

// memo remembers what the engine wrote a moment ago and the caches do not show
// yet. Without it a reconcile in between would write the same again, be told
// that the object is there already, and look at it. It only saves requests: a
// reconcile without any memory comes to the same end.
type memo struct {
	clock clock.PassiveClock

	mu     sync.Mutex
	writes map[memoKey]memoWrite
	ahead  map[types.NamespacedName]memoAhead
}

// memoAhead is that a host object was changed ahead of its virtual object, which
// had this version then.
type memoAhead struct {
	version string
	at      time.Time
}

type memoKey struct {
	side Side
	key  types.NamespacedName
}

type memoWrite struct {
	uid     types.UID
	version string
	at      time.Time
	// surpassed is set when the write has made a version after this one, without
	// saying which.
	surpassed bool
	// deleted is set when the write was a delete, with the grace period it gave.
	deleted bool
	grace   *int64
}

func newMemo(c clock.PassiveClock) *memo {
	return &memo{clock: c, writes: map[memoKey]memoWrite{}, ahead: map[types.NamespacedName]memoAhead{}}
}

// wrote notes that object is what the API server answered to a write.
func (m *memo) wrote(side Side, key types.NamespacedName, object client.Object) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.writes[memoKey{side, key}] = memoWrite{
		uid: object.GetUID(), version: object.GetResourceVersion(), at: m.clock.Now(),
	}
}

// surpassed notes that a write has made a newer version of object, where the API
// server does not answer with the object, as to a binding.
func (m *memo) surpassed(side Side, key types.NamespacedName, object client.Object) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.writes[memoKey{side, key}] = memoWrite{
		uid: object.GetUID(), version: object.GetResourceVersion(), at: m.clock.Now(), surpassed: true,
	}
}

// deleted notes that the deletion of object was asked for.
func (m *memo) deleted(side Side, key types.NamespacedName, object client.Object, grace *int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.writes[memoKey{side, key}] = memoWrite{uid: object.GetUID(), at: m.clock.Now(), deleted: true, grace: grace}
}

// changing notes that the host copy of a virtual object is about to change ahead
// of it.
func (m *memo) changing(key types.NamespacedName, virtual client.Object) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ahead[key] = memoAhead{version: virtual.GetResourceVersion(), at: m.clock.Now()}
}

// unchanged takes back what changing noted.
func (m *memo) unchanged(key types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.ahead, key)
}

// overtaken says that the host copy of a virtual object is ahead of it, as seen
// is what a cache shows of the virtual one. A reconcile would take the change back
// that is just on its way.
func (m *memo) overtaken(key types.NamespacedName, seen client.Object) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	a, ok := m.ahead[key]
	if !ok {
		return false
	}
	order, err := resourceversion.CompareResourceVersion(seen.GetResourceVersion(), a.version)
	if err != nil || order > 0 || m.clock.Since(a.at) >= memoLife {
		delete(m.ahead, key)
		return false
	}
	return true
}

// forget drops what is known of a key: its object is gone, as a watch says.
func (m *memo) forget(side Side, key types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.writes, memoKey{side, key})
}

// behind says that a cache does not show the last write yet, if seen is what it
// shows for key; nil is nothing.
func (m *memo) behind(side Side, key types.NamespacedName, seen client.Object) bool {
	w, ok := m.fresh(side, key)
	if !ok || w.deleted {
		return false
	}
	if seen == nil {
		return true
	}
	// Versions order the objects of one name, be they one object or two.
	order, err := resourceversion.CompareResourceVersion(seen.GetResourceVersion(), w.version)
	if err == nil && (order < 0 || order == 0 && w.surpassed) {
		return true
	}
	m.forget(side, key)
	return false
}

// deleting says that object was just deleted with the same or a shorter grace
// period, so that there is no need to ask for it again.
func (m *memo) deleting(side Side, key types.NamespacedName, object client.Object, grace *int64) bool {
	w, ok := m.fresh(side, key)
	if !ok || !w.deleted || w.uid != object.GetUID() {
		return false
	}
	return grace == nil || w.grace != nil && *w.grace <= *grace
}

// fresh is the write noted for a key, unless it is too long ago.
func (m *memo) fresh(side Side, key types.NamespacedName) (memoWrite, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	w, ok := m.writes[memoKey{side, key}]
	if ok && m.clock.Since(w.at) >= memoLife {
		delete(m.writes, memoKey{side, key})
		return memoWrite{}, false
	}
	return w, ok
}
