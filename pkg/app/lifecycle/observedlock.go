package lifecycle

import (
	"context"
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// observedLock is a lease as this replica observes it, by its own clock. It records when the
// lease last changed, and until when this replica holds it.
type observedLock struct {
	resourcelock.Interface
	versions *leaseVersions
	duration time.Duration

	mu sync.Mutex
	// renewed is when this replica sent its last successful renewal. It is zero if this
	// replica does not hold the lease.
	renewed time.Time
	// seen is the last observed version of another holder, and since is when it was first seen.
	seen  string
	since time.Time
	// expired is the version that was found to be expired.
	expired string
	// claimed is true if the lease in the store may name this replica. A write may take effect
	// even if the response is lost.
	claimed bool
}

// newObservedLock returns the lock of the replica with that identity.
func newObservedLock(leases coordinationclient.LeasesGetter, lease types.NamespacedName, identity string, duration time.Duration) *observedLock {
	versions := &leaseVersions{LeasesGetter: leases}
	return &observedLock{
		versions: versions, duration: duration,
		Interface: &resourcelock.LeaseLock{
			LeaseMeta: metav1.ObjectMeta{Namespace: lease.Namespace, Name: lease.Name}, Client: versions,
			LockConfig: resourcelock.ResourceLockConfig{Identity: identity},
		},
	}
}

// isHeld reports whether this replica holds the lease. Others take it only after they have seen
// no renewal for its duration, which is later than its expiry here.
func (l *observedLock) isHeld() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.renewed.IsZero() && time.Since(l.renewed) < l.duration
}

// observe reads the lease. vacant is true if this replica may try to take it. Otherwise pause
// is the time until the lease expires, if nobody renews it.
func (l *observedLock) observe(ctx context.Context) (pause time.Duration, vacant bool) {
	record, _, err := l.Interface.Get(ctx)
	version := l.versions.lastRead()
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case apierrors.IsNotFound(err):
		return 0, true
	case err != nil:
		return l.duration / 4, false
	case record.HolderIdentity == "" || record.HolderIdentity == l.Identity():
		return 0, true
	case version != l.seen:
		l.seen, l.since = version, time.Now()
		return l.duration, false
	}
	left := l.duration - time.Since(l.since)
	if left > 0 {
		return left, false
	}
	l.expired = version
	return 0, true
}

// Get implements resourcelock.Interface. It returns a lease that observe has found to be expired
// without a holder. Otherwise client-go's elector would wait once more until it expires.
func (l *observedLock) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	record, raw, err := l.Interface.Get(ctx)
	if err != nil {
		return nil, nil, err //nolint:wrapcheck // the elector compares it
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.expired != "" && l.expired == l.versions.lastRead() {
		free := *record
		free.HolderIdentity = ""
		record = &free
	}
	return record, raw, nil
}

// Create implements resourcelock.Interface.
func (l *observedLock) Create(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	return l.claim(func() error { return l.Interface.Create(ctx, record) })
}

// Update implements resourcelock.Interface.
func (l *observedLock) Update(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	return l.claim(func() error { return l.Interface.Update(ctx, record) })
}

// claim takes or renews the lease by send, and records until when this replica holds it.
func (l *observedLock) claim(send func() error) error {
	l.mu.Lock()
	l.claimed = true
	l.mu.Unlock()
	begin := time.Now()
	if err := send(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.renewed = begin
	return nil
}

// release releases the lease if this replica is its holder. It sends no request if this replica
// has not claimed the lease. It retries after a conflict, because a renewal that was canceled may
// still take effect. client-go's elector might release the lease of a successor that it has not
// seen, so it must not release any.
func (l *observedLock) release(ctx context.Context) error {
	for l.endHold() {
		record, _, err := l.Interface.Get(ctx)
		switch {
		case apierrors.IsNotFound(err) || err == nil && record.HolderIdentity != l.Identity():
			l.clearClaim()
			return nil
		case err != nil:
			return fmt.Errorf("cannot get %s: %w", l.Describe(), err)
		}
		now := metav1.Now()
		err = l.Interface.Update(ctx, resourcelock.LeaderElectionRecord{
			LeaderTransitions: record.LeaderTransitions, LeaseDurationSeconds: 1, AcquireTime: now, RenewTime: now,
		})
		switch {
		case err == nil:
			l.clearClaim()
		case !apierrors.IsConflict(err):
			return fmt.Errorf("cannot update %s: %w", l.Describe(), err)
		}
	}
	return nil
}

// endHold records that this replica does not hold the lease any more. It reports whether the lease
// in the store may still name this replica. It must be called before a release is sent, which may
// take effect even if the response is lost.
func (l *observedLock) endHold() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.renewed = time.Time{}
	return l.claimed
}

// clearClaim records that the lease in the store does not name this replica.
func (l *observedLock) clearClaim() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.claimed = false
}

// Describe implements resourcelock.Interface.
func (l *observedLock) Describe() string {
	return fmt.Sprintf("lease %s", l.Interface.Describe())
}
