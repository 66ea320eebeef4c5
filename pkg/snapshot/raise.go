package snapshot

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"
)

const (
	// revisionGap is how far the new store starts above the old one. A replica that
	// had not stopped yet may have shown somewhat later revisions of a shared etcd.
	revisionGap = 1000

	// MaxRaise is the number of revisions that a running etcd can be raised by. Each
	// needs a write: a million take about a minute.
	MaxRaise = 5_000_000
	// raiseStep is the number of writes between two reports.
	raiseStep = 50_000
)

// raise writes to a key until the store has passed the revision, and compacts all
// up to it. Nothing can raise the revision of a running etcd but writes.
// progress is called in between.
func raise(ctx context.Context, client *clientv3.Client, revision int64, progress func(context.Context) error) error {
	got, err := client.Get(ctx, raiseKey)
	if err != nil {
		return fmt.Errorf("cannot read the revision of the store: %w", err)
	}
	missing := revision - got.Header.Revision
	if missing > MaxRaise {
		return fmt.Errorf("the revision of the new store is %d and must reach %d, which needs %d writes; at most %d are made. "+
			"Raise it first, by etcdutl snapshot restore --bump-revision --mark-compacted", got.Header.Revision, revision, missing, MaxRaise)
	}
	for ; missing > 0; missing -= raiseStep {
		if err := putMany(ctx, client, min(missing, raiseStep)); err != nil {
			return err
		}
		if err := progress(ctx); err != nil {
			return err
		}
	}
	return compact(ctx, client, revision)
}

// compact compacts the store at the revision. An etcd may not let the user of one prefix
// do that. The caches of the API server refuse older revisions all the same.
func compact(ctx context.Context, client *clientv3.Client, revision int64) error {
	_, err := client.Compact(ctx, revision)
	if err == nil || errors.Is(err, rpctypes.ErrCompacted) || errors.Is(err, rpctypes.ErrPermissionDenied) {
		return nil
	}
	return fmt.Errorf("cannot compact the new store at revision %d: %w", revision, err)
}

// putMany writes one small key many times.
func putMany(ctx context.Context, client *clientv3.Client, times int64) error {
	group, writing := errgroup.WithContext(ctx)
	share := (times + 4*writers - 1) / (4 * writers)
	for range 4 * writers {
		group.Go(func() error {
			for range share {
				if _, err := client.Put(writing, raiseKey, ""); err != nil {
					return fmt.Errorf("cannot raise the revision of the new store: %w", err)
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if _, err := client.Delete(ctx, raiseKey); err != nil {
		return fmt.Errorf("cannot delete key %s: %w", raiseKey, err)
	}
	return nil
}
