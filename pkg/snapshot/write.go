package snapshot

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"github.com/sublet-dev/sublet/pkg/storage"
)

const (
	// writers is the number of requests that are under way at the same time. A store
	// with a log commits them together.
	writers = 64
	// batchWriters is the same for transactions with many keys.
	batchWriters = 4
	// batchBytes is the size in bytes of the keys and values of a transaction. etcd refuses
	// one of 1.5 MiB.
	batchBytes = 512 << 10
)

// writer creates keys in an empty store.
type writer struct {
	client *clientv3.Client
	leases *leaseWriter
	// load writes a page at once. It is nil if the store cannot.
	load func(ctx context.Context, page []storage.Entry) error
	// batch is the number of keys in one transaction.
	batch int
}

func newWriter(client *clientv3.Client, can storage.Capabilities) *writer {
	return &writer{client, newLeaseWriter(client), can.Load, max(can.TxnWrites, 1)}
}

// write creates the keys of one page and returns once all are written.
func (w *writer) write(ctx context.Context, page []storage.Entry) error {
	if w.load != nil {
		return w.load(ctx, page)
	}
	limit := writers
	if w.batch > 1 {
		limit = batchWriters
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(limit)
	for _, batch := range batches(page, w.batch) {
		group.Go(func() error { return w.writeBatch(ctx, batch) })
	}
	return group.Wait()
}

// batches divides a page into parts of at most so many keys and batchBytes. A key that is
// larger has a part of its own.
func batches(page []storage.Entry, keys int) [][]storage.Entry {
	var parts [][]storage.Entry
	begin, size := 0, 0
	for i, entry := range page {
		bytes := len(entry.Key) + len(entry.Value)
		if i > begin && (i-begin >= keys || size+bytes > batchBytes) {
			parts = append(parts, page[begin:i])
			begin, size = i, 0
		}
		size += bytes
	}
	if begin < len(page) {
		parts = append(parts, page[begin:])
	}
	return parts
}

// writeBatch creates keys in one transaction. An etcd that allows fewer writes in one refuses
// it as a whole. The halves are written then.
func (w *writer) writeBatch(ctx context.Context, batch []storage.Entry) error {
	err := w.createAll(ctx, batch)
	if len(batch) > 1 && errors.Is(err, rpctypes.ErrTooManyOps) {
		half := len(batch) / 2
		if err := w.writeBatch(ctx, batch[:half]); err != nil {
			return err
		}
		return w.writeBatch(ctx, batch[half:])
	}
	return err
}

// createAll creates keys in one transaction. They get the same revision, which nobody has
// seen yet.
func (w *writer) createAll(ctx context.Context, batch []storage.Entry) error {
	absent, puts := make([]clientv3.Cmp, len(batch)), make([]clientv3.Op, len(batch))
	for i, entry := range batch {
		options, err := w.leases.options(ctx, entry.TTL)
		if err != nil {
			return err
		}
		key := string(entry.Key)
		absent[i] = clientv3.Compare(clientv3.ModRevision(key), "=", 0)
		puts[i] = clientv3.OpPut(key, string(entry.Value), options...)
	}
	done, err := w.client.Txn(ctx).If(absent...).Then(puts...).Commit()
	_, err = outcome(done, err, "create", string(batch[0].Key))
	return err
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
				err := deleteAtRevision(ctx, client, string(kv.Key), kv.ModRevision)
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
