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
	// refusedInterval is the time in which the retries of all refused keys of a kind
	// earn one attempt: 12 a minute.
	refusedInterval = 5 * time.Second
	// refusedBurst is how many attempts are saved up.
	refusedBurst = 5
	// refusedReward is how many attempts a success earns. With more than one, the
	// retries of all other keys speed up as soon as the reason is gone.
	refusedReward = 2
	// freedPause is the time after which room that became free on the host earns an attempt.
	// The host's quota controller needs a moment to count it.
	freedPause = time.Second
)

// refusalBackoff decides when keys that the host has refused are tried again. A
// quota that is used up refuses all objects alike, so the keys of a kind share one
// budget of attempts, however many they are. A key whose retry succeeds proves
// that a reason is gone and earns further attempts at once, for whichever keys
// have waited longest.
type refusalBackoff struct {
	clock clock.Clock
	retry func(types.NamespacedName)
	wake  chan struct{}

	mu       sync.Mutex
	keys     map[types.NamespacedName]*refusedKey
	credit   time.Duration // each refusedInterval of it is worth an attempt
	rewards  int           // attempts earned by successes; they do not wait for a key's time
	freed    []time.Time   // when attempts are earned by room that became free
	refilled time.Time
}

// refusedKey is a key that the host has refused.
type refusedKey struct {
	attempts int
	since    time.Time // of the last refusal
	due      time.Time
	queued   bool // its retry is under way
	// version is the object that the host refused a copy of. It is empty if other changes
	// than those of the object may change the decision.
	version objectVersion
	refusal error // what the host said of it
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

// isRefused reports whether err is a decision, which another request does not change:
// the host's, that of the owner of a conflicting object, or Sublet's.
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

// recordRefusal records what the host refused a copy of, and why.
func (b *refusalBackoff) recordRefusal(key types.NamespacedName, object client.Object, refusal error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if k, ok := b.keys[key]; ok {
		k.version, k.refusal = versionOf(object), refusal
	}
}

// pendingRefusal returns why the host has refused a copy of an object whose retry is not due,
// nil if the host may be asked. An event about the object, such as a change of its status, is
// no reason to ask again. Otherwise the tenant would set the pace.
func (b *refusalBackoff) pendingRefusal(key types.NamespacedName, object client.Object) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	k, ok := b.keys[key]
	if !ok || k.queued || k.version == (objectVersion{}) || k.version != versionOf(object) {
		return nil
	}
	return k.refusal
}

// forget drops a key that is no longer refused. If its retry succeeded, others are
// tried soon.
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

// recordFreed records that the host has more room than before, as something was deleted. The
// key that has waited longest is tried soon.
func (b *refusalBackoff) recordFreed() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.freed) < len(b.keys) {
		b.freed = append(b.freed, b.clock.Now().Add(freedPause))
		b.signal()
	}
}

// earnFreed turns room that became free into attempts. It returns when the next one is
// earned, 0 if none is on its way. The caller holds the lock.
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

// signal lets run look at the keys again. The caller holds the lock.
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

// takeNext takes the key to retry now. If there is none, it returns how long to wait,
// 0 if nothing waits.
func (b *refusalBackoff) takeNext() (types.NamespacedName, time.Duration, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.clock.Now()
	b.credit = min(b.credit+now.Sub(b.refilled), refusedBurst*refusedInterval)
	b.refilled = now
	freed := b.earnFreed(now)
	var key types.NamespacedName
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

// sooner returns the shorter of two pauses, of which other is none if it is 0.
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
