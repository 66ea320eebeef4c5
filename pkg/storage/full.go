package storage

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/client/v3/kubernetes"
)

const (
	// relievedAt is the percentage of the quota above which old revisions are removed early.
	relievedAt = 75
	// createsUntil is the percentage of the quota up to which objects can be
	// created. The rest is for updates and deletes.
	createsUntil = 90
	// internalUntil is the same for parts of the process itself, which create nodes and Events.
	internalUntil = 95

	// minFree is the free space on the volume, in bytes, below which creates are denied. The next
	// segments of the raft log and of the database need it.
	minFree int64 = 96 * mib
)

// FullError reports that a write was denied because the store is full.
type FullError struct {
	// Usage is the size of the store at that time.
	Usage Usage
	// Volume is true if the volume is full and not the quota.
	Volume bool
	// Updates is true if updates are denied too.
	Updates bool
}

// Error returns what is full and how much is in use.
func (e *FullError) Error() string {
	switch {
	case e.Volume:
		return fmt.Sprintf("the volume of the store is full: less than %d MiB are free", minFree/mib)
	case e.Updates:
		return fmt.Sprintf("the store is full: %d of %d MiB are in use", e.Usage.InUse/mib, e.Usage.Quota/mib)
	default:
		return fmt.Sprintf("the store is almost full: %d of %d MiB are in use, and creates are denied above %d %%",
			e.Usage.InUse/mib, e.Usage.Quota/mib, createsUntil)
	}
}

// creationLimit denies creates in a store that is almost full, so that updates
// and deletes still succeed.
type creationLimit struct {
	kubernetes.Interface
	usage func() Usage
	// free returns the free space of the volume. nil means that the store is not on a volume of
	// this process.
	free     func() (int64, error)
	internal func(context.Context) bool
	written  uncommitted
	// relieve starts an attempt to free space. It does not wait.
	relieve func()
}

// OptimisticPut writes a key. It returns a *FullError if the store is too full
// for a new key, or if it is full.
func (l *creationLimit) OptimisticPut(ctx context.Context, key string, value []byte, expectedRevision int64, opts kubernetes.PutOptions,
) (kubernetes.PutResponse, error) {
	size := int64(len(key) + len(value))
	check := l.checkUpdate
	if expectedRevision == 0 {
		check = l.checkCreate
	}
	if err := check(ctx, l.written.total()+size); err != nil {
		l.relieve()
		return kubernetes.PutResponse{}, err
	}
	l.written.add(size)
	response, err := l.Interface.OptimisticPut(ctx, key, value, expectedRevision, opts)
	if errors.Is(err, rpctypes.ErrNoSpace) {
		l.relieve()
		err = &FullError{Usage: l.usage(), Updates: true}
	}
	return response, err
}

// checkUpdate returns a *FullError if even an update does not fit. The quota may now be smaller than the
// one that the database itself enforces.
func (l *creationLimit) checkUpdate(ctx context.Context, pending int64) error {
	usage := l.usage()
	if usage.Quota > 0 && usage.InUse+pending > usage.Quota+usage.Quota/fileSlack && !l.isInternal(ctx) {
		return &FullError{Usage: usage, Updates: true}
	}
	return nil
}

// checkCreate returns a *FullError if a new key does not fit. pending is its size plus that of the writes that
// Usage does not include yet.
func (l *creationLimit) checkCreate(ctx context.Context, pending int64) error {
	usage := l.usage()
	if usage.Quota == 0 {
		return nil // It is not known.
	}
	usage.InUse += pending
	until := int64(createsUntil)
	if l.isInternal(ctx) {
		until = internalUntil
	}
	if usage.InUse > usage.Quota/100*until {
		return &FullError{Usage: usage}
	}
	if l.free != nil {
		if free, err := l.free(); err == nil && free < minFree {
			return &FullError{Usage: usage, Volume: true}
		}
	}
	if usage.InUse > usage.Quota/100*relievedAt {
		l.relieve()
	}
	return nil
}

// isInternal reports whether a request comes from a part of the process.
func (l *creationLimit) isInternal(ctx context.Context) bool {
	return l.internal != nil && l.internal(ctx)
}

// uncommitted counts the bytes that were written since the last commit to the database file. The sizes of
// the file do not include them, and many MiB can arrive between two commits.
type uncommitted struct {
	// commits returns the number of commits. nil disables the count.
	commits func() int64

	mu    sync.Mutex
	since int64
	bytes int64
}

// add counts a write.
func (u *uncommitted) add(size int64) {
	if u.commits == nil {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.reset()
	u.bytes += size
}

// total returns the size of all writes that are not committed.
func (u *uncommitted) total() int64 {
	if u.commits == nil {
		return 0
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.reset()
	return u.bytes
}

// reset starts again at zero after a commit. The caller holds the lock.
func (u *uncommitted) reset() {
	if commits := u.commits(); commits != u.since {
		u.since, u.bytes = commits, 0
	}
}
