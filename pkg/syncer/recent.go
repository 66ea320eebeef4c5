package syncer

import (
	"time"

	"k8s.io/utils/clock"
)

// recent is a map whose entries expire a fixed time after they were set. Each operation takes
// constant time on average. It is not safe for concurrent use.
type recent[K comparable, V any] struct {
	clock   clock.PassiveClock
	life    time.Duration
	entries map[K]recentEntry[V]
	order   []recentKey[K] // in the order of at
}

type recentEntry[V any] struct {
	value V
	at    time.Time
}

type recentKey[K comparable] struct {
	key K
	at  time.Time
}

func newRecent[K comparable, V any](c clock.PassiveClock, life time.Duration) *recent[K, V] {
	return &recent[K, V]{clock: c, life: life, entries: map[K]recentEntry[V]{}}
}

// set sets the value of a key and restarts its lifetime.
func (r *recent[K, V]) set(key K, value V) {
	r.expire()
	now := r.clock.Now()
	r.entries[key] = recentEntry[V]{value, now}
	r.order = append(r.order, recentKey[K]{key, now})
}

// get returns the value of a key that has not expired.
func (r *recent[K, V]) get(key K) (value V, ok bool) {
	r.expire()
	entry, ok := r.entries[key]
	return entry.value, ok
}

// delete removes a key.
func (r *recent[K, V]) delete(key K) { delete(r.entries, key) }

// count returns how many keys have not expired.
func (r *recent[K, V]) count() int {
	r.expire()
	return len(r.entries)
}

// expire removes the entries whose time is up.
func (r *recent[K, V]) expire() {
	done := 0
	for _, old := range r.order {
		if r.clock.Since(old.at) < r.life {
			break
		}
		if entry, ok := r.entries[old.key]; ok && entry.at.Equal(old.at) {
			delete(r.entries, old.key)
		}
		done++
	}
	if done == len(r.order) {
		r.order = nil
		return
	}
	r.order = r.order[done:]
}
