package syncer

import (
	"context"
	"errors"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/translate"
)

const (
	// firstRefusedRetry and lastRefusedRetry bound the backoff of one refused key;
	// it doubles from the one to the other.
	firstRefusedRetry = time.Second
	lastRefusedRetry  = time.Minute
	// refusedInterval is the time after which a kind may retry another refused key, which is
	// 12 per minute for all its keys together.
	refusedInterval = 5 * time.Second
	// refusedBurst is how many unused attempts accumulate at most.
	refusedBurst = 5
	// refusedReward is how many extra attempts a success earns. As it is more than one, the
	// retries of all other keys speed up once the reason is gone.
	refusedReward = 2
	// freedPause is the time between a delete on the host and the extra attempt that it earns.
	// The host's quota controller needs a moment to update the usage.
	freedPause = time.Second
)

// refusalBackoff decides when keys that the host has refused are retried. An exhausted quota
// refuses all objects alike, so the keys of a kind share one budget of attempts. A retry that
// succeeds proves that a reason is gone, so it earns extra attempts for the keys that have
// waited longest.
type refusalBackoff struct {
	clock clock.Clock
	retry func(types.NamespacedName)
	wake  chan struct{}

	mu       sync.Mutex
	keys     map[types.NamespacedName]*refusedKey
	credit   time.Duration // each refusedInterval of it is worth an attempt
	rewards  int           // extra attempts, which need no credit and ignore when a key is due
	freed    []time.Time   // when deletes on the host earn extra attempts
	refilled time.Time
}

// refusedKey is a key that the host has refused.
type refusedKey struct {
	attempts int
	since    time.Time // of the last refusal
	due      time.Time
	queued   bool // its retry is under way
	// version is the version of the object whose copy the host refused. It is empty if a retry
	// needs no change of the object.
	version objectVersion
	refusal error // the host's error
}

// objectVersion identifies what an object specifies. Changes of its status and metadata do
// not change it.
type objectVersion struct {
	uid        types.UID
	generation int64
}

// versionOf returns the version of an object, empty for types without a generation.
func versionOf(object client.Object) objectVersion {
	if object == nil || object.GetGeneration() == 0 {
		return objectVersion{}
	}
	return objectVersion{object.GetUID(), object.GetGeneration()}
}

func newRefusalBackoff(c clock.Clock, retry func(types.NamespacedName)) *refusalBackoff {
	return &refusalBackoff{
		clock: c, retry: retry, wake: make(chan struct{}, 1),
		keys: map[types.NamespacedName]*refusedKey{}, credit: refusedBurst * refusedInterval, refilled: c.Now(),
	}
}

// isRefused reports whether repeating the request at once would not help. The host refuses the
// copy, another object has its name, or Sublet does not support the object.
func isRefused(err error) bool {
	var byHost *hostRefusal
	var conflict *conflictError
	var unsupported *translate.UnsupportedError
	return errors.As(err, &byHost) || errors.As(err, &conflict) || errors.As(err, &unsupported)
}

// add records that a key was refused, plans its retry and returns how often it was
// refused in a row.
func (b *refusalBackoff) add(key types.NamespacedName) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	k, ok := b.keys[key]
	if !ok {
		k = &refusedKey{}
		b.keys[key] = k
	}
	pause := min(firstRefusedRetry<<min(k.attempts, 16), lastRefusedRetry)
	k.attempts++
	k.since, k.due, k.queued = b.clock.Now(), b.clock.Now().Add(pause), false
	b.signal()
	return k.attempts
}

// recordRefusal records the object whose copy the host refused, and the host's error.
func (b *refusalBackoff) recordRefusal(key types.NamespacedName, object client.Object, refusal error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if k, ok := b.keys[key]; ok {
		k.version, k.refusal = versionOf(object), refusal
	}
}

// pendingRefusal returns why the host has refused the copy of an object, if the retry is not
// due yet and the spec has not changed. It returns nil if the host may be asked. Otherwise each
// change of the status would cause a retry, and the tenant would set the pace.
func (b *refusalBackoff) pendingRefusal(key types.NamespacedName, object client.Object) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	k, ok := b.keys[key]
	if !ok || k.queued || k.version == (objectVersion{}) || k.version != versionOf(object) {
		return nil
	}
	return k.refusal
}

// forget drops a key that is no longer refused. If its retry succeeded, others are retried
// early.
func (b *refusalBackoff) forget(key types.NamespacedName, succeeded bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.keys[key]; !ok {
		return
	}
	delete(b.keys, key)
	if len(b.keys) == 0 {
		b.rewards, b.freed = 0, nil
	} else if succeeded {
		b.rewards += refusedReward
		b.signal()
	}
}

// recordFreed records that a delete has freed resources of the host. The key that has waited
// longest is retried after freedPause.
func (b *refusalBackoff) recordFreed() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.freed) < len(b.keys) {
		b.freed = append(b.freed, b.clock.Now().Add(freedPause))
		b.signal()
	}
}

// earnFreed adds the extra attempts that are due from deletes on the host. It returns the time
// until the next one, 0 if there is none. The caller holds the lock.
func (b *refusalBackoff) earnFreed(now time.Time) time.Duration {
	for len(b.freed) > 0 && !b.freed[0].After(now) {
		b.freed = b.freed[1:]
		b.rewards = min(b.rewards+1, len(b.keys))
	}
	if len(b.freed) == 0 {
		return 0
	}
	return b.freed[0].Sub(now)
}

// signal wakes run. The caller holds the lock.
func (b *refusalBackoff) signal() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// run queues the retries until ctx ends.
func (b *refusalBackoff) run(ctx context.Context) {
	for {
		key, pause, ok := b.takeNext()
		if ok {
			b.retry(key)
			continue
		}
		var timer <-chan time.Time
		if pause > 0 {
			timer = b.clock.After(pause)
		}
		select {
		case <-ctx.Done():
			return
		case <-b.wake:
		case <-timer:
		}
	}
}

// takeNext returns the key to retry now and marks it as queued. ok is false if there is none.
// It then returns the time until the next one, 0 if no key waits.
func (b *refusalBackoff) takeNext() (key types.NamespacedName, pause time.Duration, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.clock.Now()
	b.credit = min(b.credit+now.Sub(b.refilled), refusedBurst*refusedInterval)
	b.refilled = now
	freed := b.earnFreed(now)
	var first *refusedKey
	for name, k := range b.keys {
		if !k.queued && (first == nil || b.isBefore(k, first)) {
			key, first = name, k
		}
	}
	switch {
	case first == nil:
		return key, 0, false
	case b.rewards > 0:
		b.rewards--
	case first.due.After(now):
		return key, sooner(first.due.Sub(now), freed), false
	case b.credit < refusedInterval:
		return key, sooner(refusedInterval-b.credit, freed), false
	default:
		b.credit -= refusedInterval
	}
	first.queued = true
	return key, 0, true
}

// sooner returns the shorter of two pauses. An other of 0 is none.
func sooner(pause, other time.Duration) time.Duration {
	if other == 0 {
		return pause
	}
	return min(pause, other)
}

// isBefore reports whether k is retried before other. An attempt that a success has
// earned is for the key that has waited longest.
func (b *refusalBackoff) isBefore(k, other *refusedKey) bool {
	if b.rewards > 0 {
		return k.since.Before(other.since)
	}
	return k.due.Before(other.due)
}
