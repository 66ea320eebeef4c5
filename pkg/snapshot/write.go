package snapshot

import (
	"context"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"github.com/sublet-dev/sublet/pkg/storage"
)

// writers is the number of requests that are under way at the same time. A store
// with a log commits them together.
const writers = 64

// writer creates keys in an empty store.
type writer struct {
	client *clientv3.Client
	leases *leaseWriter
	// load writes a page at once. It is nil if the store cannot.
	load func(ctx context.Context, page []storage.Entry) error
}

func newWriter(client *clientv3.Client, load func(ctx context.Context, page []storage.Entry) error) *writer {
	return &writer{client, newLeaseWriter(client), load}
}

// write creates the keys of one page and returns once all are written.
func (w *writer) write(ctx context.Context, page []storage.Entry) error {
	if w.load != nil {
		return w.load(ctx, page)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(writers)
	for _, entry := range page {
		group.Go(func() error {
			options, err := w.leases.options(ctx, entry.TTL)
			if err != nil {
				return err
			}
			_, err = create(ctx, w.client, string(entry.Key), string(entry.Value), options...)
			return err
		})
	}
	return group.Wait()
}

// removeContent deletes all objects of a store. Those that are deleted meanwhile,
// as their lease ends, are no error.
func removeContent(ctx context.Context, client *clientv3.Client) error {
	for {
		got, err := client.Get(ctx, contentPrefix, clientv3.WithPrefix(), clientv3.WithKeysOnly(), clientv3.WithLimit(maxPage))
		if err != nil {
			return fmt.Errorf("cannot read the keys to delete: %w", err)
		}
		objects := withoutHealth(got.Kvs)
		if len(objects) == 0 {
			return nil
		}
		group, ctx := errgroup.WithContext(ctx)
		group.SetLimit(writers)
		for _, kv := range objects {
			group.Go(func() error {
				err := remove(ctx, client, string(kv.Key), kv.ModRevision)
				if errors.Is(err, errConflict) {
					return nil
				}
				return err
			})
		}
		if err := group.Wait(); err != nil {
			return err
		}
	}
}
