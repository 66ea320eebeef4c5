package snapshot

import (
	"context"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// errConflict is returned if a key is not at the revision that was read.
var errConflict = errors.New("it was changed by somebody else")

// The transactions below have the three forms that every kind of store accepts.

// create writes a key that must not exist, and returns its revision.
func create(ctx context.Context, kv clientv3.KV, key, value string, options ...clientv3.OpOption) (int64, error) {
	done, err := kv.Txn(ctx).
		If(clientv3.Compare(clientv3.ModRevision(key), "=", 0)).
		Then(clientv3.OpPut(key, value, options...)).
		Commit()
	return outcome(done, err, "create", key)
}

// update writes a key that must be at the given revision. 0 means that it must not
// exist. It returns the new revision.
func update(ctx context.Context, kv clientv3.KV, key, value string, revision int64) (int64, error) {
	if revision == 0 {
		return create(ctx, kv, key, value)
	}
	done, err := kv.Txn(ctx).
		If(clientv3.Compare(clientv3.ModRevision(key), "=", revision)).
		Then(clientv3.OpPut(key, value)).
		Else(clientv3.OpGet(key)).
		Commit()
	return outcome(done, err, "update", key)
}

// deleteAtRevision deletes a key that must be at the given revision.
func deleteAtRevision(ctx context.Context, kv clientv3.KV, key string, revision int64) error {
	done, err := kv.Txn(ctx).
		If(clientv3.Compare(clientv3.ModRevision(key), "=", revision)).
		Then(clientv3.OpDelete(key)).
		Else(clientv3.OpGet(key)).
		Commit()
	_, err = outcome(done, err, "delete", key)
	return err
}

// outcome returns the revision of a transaction, or its error.
func outcome(done *clientv3.TxnResponse, err error, verb, key string) (int64, error) {
	if err == nil && !done.Succeeded {
		err = errConflict
	}
	if err != nil {
		return 0, fmt.Errorf("cannot %s key %s: %w", verb, key, err)
	}
	return done.Header.Revision, nil
}
