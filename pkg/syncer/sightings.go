package syncer

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
)

// sightings remembers two things that this process has seen. A deletion that a watch has
// delivered proves that an object is gone, without a live read. The time at which a state was
// first seen gives its age, without the clock of another machine. Losing either costs a live
// read or a longer wait, but never leads to a wrong decision.
//
// A deletion is only kept while the object on the other side exists.
type sightings struct {
	clock clock.PassiveClock

	mu        sync.Mutex
	deletions map[sideKey]deletion
	states    map[types.NamespacedName]firstSight // virtual key -> state that is waited for
}

// deletion is an object that a watch has seen deleted.
type deletion struct {
	// uid is the UID of the original, which is on the owner's side.
	uid types.UID
	// last is the last state of a host copy, nil if this process removed it.
	last client.Object
	// requested is true if the deletion of a host copy was requested before, by this process or by others.
	requested bool
}

// firstSight is the time at which a state was first seen.
type firstSight struct {
	state string
	at    time.Time
}

func newSightings(c clock.PassiveClock) *sightings {
	return &sightings{clock: c, deletions: map[sideKey]deletion{}, states: map[types.NamespacedName]firstSight{}}
}

// recordDeletion records that a watch has seen an object deleted.
func (s *sightings) recordDeletion(side Side, key types.NamespacedName, d deletion) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deletions[sideKey{side, key}] = d
}

// forgetDeletion drops the recorded deletion of a side.
func (s *sightings) forgetDeletion(side Side, key types.NamespacedName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.deletions, sideKey{side, key})
}

// findDeletion returns the recorded deletion of the object with that UID.
func (s *sightings) findDeletion(side Side, key types.NamespacedName, uid types.UID) (deletion, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, ok := s.deletions[sideKey{side, key}]
	if !ok || d.uid != uid {
		return deletion{}, false
	}
	return d, true
}

// age returns for how long this process has known key to be in a state, 0 at the
// first call.
func (s *sightings) age(key types.NamespacedName, state string) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	first, ok := s.states[key]
	if !ok || first.state != state {
		s.states[key] = firstSight{state, s.clock.Now()}
		return 0
	}
	return s.clock.Since(first.at)
}

// forgetState drops the state of a key.
func (s *sightings) forgetState(key types.NamespacedName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.states, key)
}

// recordDeleted records that a watch has seen an object of the kind deleted, if the
// other side still has the object that belongs to it.
func (r *reconciler) recordDeleted(side Side, key types.NamespacedName, object client.Object) {
	r.sightings.forgetDeletion(otherSide(side), key)
	r.sightings.forgetDeletion(side, key)
	if side == Host {
		r.sightings.forgetState(key)
	}
	if d, ok := r.deletionOf(side, key, object); ok {
		r.sightings.recordDeletion(side, key, d)
	}
}

// deletionOf returns the deletion to record for a deleted object. ok is false if the other side
// has no object that belongs to it.
func (r *reconciler) deletionOf(side Side, key types.NamespacedName, object client.Object) (d deletion, ok bool) {
	if side == Virtual {
		if r.kind.owner == Host {
			return deletion{}, false // Such a kind may have no Names to find the host object by.
		}
		host := r.host.store.Get(r.hostKey(key))
		return deletion{uid: object.GetUID()}, host != nil && virtualUID(host) == object.GetUID()
	}
	virtual := r.virtual.store.Get(key)
	switch {
	case virtual == nil:
		return deletion{}, false
	case r.kind.owner == Host:
		uid := object.GetUID()
		return deletion{uid: uid}, virtual.GetAnnotations()[labels.HostUID] == string(uid)
	default:
		return r.hostDeletion(key, virtual, object), r.kind.evictedWithCopy && virtual.GetUID() == virtualUID(object)
	}
}

// hostDeletion returns the deletion of the host copy of a virtual object.
func (r *reconciler) hostDeletion(key types.NamespacedName, virtual, host client.Object) deletion {
	ours := r.expectations.isDeletePending(Host, key, host, nil)
	d := deletion{uid: virtual.GetUID(), last: host, requested: ours || isTerminating(host)}
	if !isTerminating(virtual) && ours {
		d.last = nil
	}
	return d
}

// recordAdded drops a recorded deletion that an object of that name disproves.
func (r *reconciler) recordAdded(side Side, key types.NamespacedName) {
	if side == Host {
		r.sightings.forgetDeletion(Host, key)
	}
}

// otherSide returns the side that is not side.
func otherSide(side Side) Side {
	if side == Host {
		return Virtual
	}
	return Host
}
