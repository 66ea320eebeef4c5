package lifecycle

import (
	"context"
	"errors"
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
	// holder is the holder when the lease was last read or written.
	holder string
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

// errNotHolder is returned instead of releasing a lease that another replica holds.
var errNotHolder = errors.New("the lease has another holder")

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
	version := l.versions.last()
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
	l.holder = record.HolderIdentity
	if l.expired != "" && l.expired == l.versions.last() {
		free := *record
		free.HolderIdentity = ""
		record = &free
	}
	return record, raw, nil
}

// Create implements resourcelock.Interface.
func (l *observedLock) Create(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	return l.record(record, func() error { return l.Interface.Create(ctx, record) })
}

// Update implements resourcelock.Interface.
func (l *observedLock) Update(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	return l.record(record, func() error { return l.Interface.Update(ctx, record) })
}

// record writes a lease by send, and records until when this replica holds it.
func (l *observedLock) record(record resourcelock.LeaderElectionRecord, send func() error) error {
	begin := time.Now()
	if record.HolderIdentity != l.Identity() { // a release
		if err := l.endHold(); err != nil {
			return err
		}
		return send()
	}
	if err := send(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.renewed, l.holder = begin, record.HolderIdentity
	return nil
}

// endHold records that this replica no longer holds the lease. It does so before the release is
// sent, which may take effect even if the response is lost. It fails if another replica holds
// the lease, because client-go's elector might otherwise release the lease of a successor that
// it has not seen.
func (l *observedLock) endHold() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.renewed = time.Time{}
	if l.holder != l.Identity() {
		return errNotHolder
	}
	return nil
}

// Describe implements resourcelock.Interface.
func (l *observedLock) Describe() string {
	return fmt.Sprintf("lease %s", l.Interface.Describe())
}
