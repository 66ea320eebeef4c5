package snapshot

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/sublet-dev/sublet/pkg/storage"
)

// RestoreOptions are the choices of a restore.
type RestoreOptions struct {
	// Identity is the value of the identity that the store gets. Empty means that
	// it gets none.
	Identity string
	// AtLeast is a revision that clients may have seen. The store starts above it
	// and above the revision of the dump.
	AtLeast int64
	// By is who restores, for the record.
	By string
}

// Restore fills an empty store of any kind from a verified dump. Its revision is above
// that of the dump. An interrupted restore leaves a store that is not served, and can
// be repeated.
func Restore(ctx context.Context, store Store, dump *DumpFile, options RestoreOptions) error {
	run := newRun(Mover{Target: store})
	defer run.closeStores()
	if err := run.openTarget(ctx); err != nil {
		return err
	}
	if err := run.checkEmpty(); err != nil {
		return err
	}
	revision := max(dump.Header.Revision, options.AtLeast) + revisionGap
	if err := run.reset(ctx, max(revision, run.target.state.revision)); err != nil {
		return err
	}
	run.Identity = options.Identity
	id := restorePrefix + rand.Text()
	run.record = Record{
		ID: id, Restore: id, Phase: PhaseCopying, From: fmt.Sprintf("dump of revision %d", dump.Header.Revision),
		By: options.By, Time: dump.Header.Time, Revision: dump.Header.Revision, Digest: dump.Digest,
	}
	if err := run.writeRecord(ctx); err != nil {
		return err
	}
	if err := run.fill(ctx, dump); err != nil {
		return fmt.Errorf("cannot restore into %s: %w", store.Location, err)
	}
	run.record.Phase = PhaseDone
	return run.writeRecord(ctx)
}

// errNotEmpty is the error of a restore into a store that has content.
var errNotEmpty = errors.New("the store is not empty")

// IsNotEmpty reports whether a restore was refused because the store has content.
func IsNotEmpty(err error) bool { return errors.Is(err, errNotEmpty) }

// CheckEmpty returns an error for which [IsNotEmpty] is true if the store has content, so
// that nothing can be restored into it.
func CheckEmpty(ctx context.Context, store Store) error {
	run := newRun(Mover{Target: store})
	defer run.closeStores()
	if err := run.openTarget(ctx); err != nil {
		return err
	}
	return run.checkEmpty()
}

// checkEmpty returns an error unless the target is empty, or half of an earlier restore.
func (r *moveRun) checkEmpty() error {
	if t := r.target.state; !t.isEmpty() && (t.record == nil || t.record.Phase == PhaseDone) {
		return fmt.Errorf("cannot restore into %s: %w", r.Target.Location, errNotEmpty)
	}
	return nil
}

// fill writes the keys of a dump into the target and verifies them.
func (r *moveRun) fill(ctx context.Context, dump *DumpFile) error {
	writes := newWriter(r.target.client, r.target.capabilities)
	err := dump.each(ctx, func(page []*mvccpb.KeyValue) error {
		entries := make([]storage.Entry, len(page))
		for i, kv := range page {
			entries[i] = storage.Entry{Key: kv.Key, Value: kv.Value, TTL: kv.Lease}
		}
		return writes.write(ctx, entries)
	})
	if err != nil {
		return err
	}
	if _, err := Verify(ctx, dump, r.target.client); err != nil {
		return err
	}
	return r.writeIdentity(ctx)
}

// Verify compares a store with a dump. It returns the digest of the store, and a
// *DifferentError if a key or a value differs.
func Verify(ctx context.Context, dump *DumpFile, client *clientv3.Client) (Digest, error) {
	now, err := newestContent(ctx, client)
	if err != nil {
		return Digest{}, err
	}
	return verify(ctx, dump.Digest, dump, now)
}

// VerifyStores compares two stores, as Verify does.
func VerifyStores(ctx context.Context, first, second *clientv3.Client) (Digest, error) {
	a, err := newestContent(ctx, first)
	if err != nil {
		return Digest{}, err
	}
	want, err := a.digest(ctx)
	if err != nil {
		return Digest{}, err
	}
	b, err := newestContent(ctx, second)
	if err != nil {
		return Digest{}, err
	}
	return verify(ctx, want, a, b)
}

// verify compares a store with the digest of another content. Only if they differ, the
// keys are compared one by one.
func verify(ctx context.Context, want Digest, first entrySource, second *content) (Digest, error) {
	got, err := second.digest(ctx)
	if err != nil {
		return Digest{}, err
	}
	if got.isSame(want) {
		return got, nil
	}
	if err := compare(ctx, first, second); err != nil {
		return got, err
	}
	return got, fmt.Errorf("the stores differ: %s, and %s", want, got)
}
