package storage

import (
	"context"
	"errors"
	"fmt"
	"os"

	"go.etcd.io/etcd/server/v3/storage/backend"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
	"go.etcd.io/etcd/server/v3/storage/schema"
	"go.uber.org/zap"
)

// reset makes the data directory an empty store at the given revision. The
// earlier store is deleted. An interrupted reset leaves either store, or none.
func (e *Etcd) reset(_ context.Context, revision int64) error {
	if err := e.lockDir(); err != nil {
		return err
	}
	logger := e.logger()
	target := e.serverDir()
	building := target + ".reset"
	if err := e.buildEmpty(logger, layout{building}, revision); err != nil {
		return fmt.Errorf("cannot reset the store in %s: %w", e.Dir, errors.Join(err, os.RemoveAll(building)))
	}
	if err := os.RemoveAll(target); err != nil {
		return fmt.Errorf("cannot reset the store in %s: %w", e.Dir, err)
	}
	if err := os.Rename(building, target); err != nil {
		return fmt.Errorf("cannot reset the store in %s: %w", e.Dir, err)
	}
	return nil
}

// buildEmpty writes an empty database and the raft log of a cluster of one member.
func (e *Etcd) buildEmpty(logger *zap.Logger, files layout, revision int64) error {
	if err := os.RemoveAll(files.dir); err != nil {
		return err
	}
	if err := os.MkdirAll(files.snapDir(), 0o700); err != nil {
		return err
	}
	b := backend.NewDefaultBackend(logger, files.database())
	tx := b.BatchTx()
	schema.CreateMetaBucket(tx)
	tx.LockOutsideApply()
	// A store without keys continues at the revision of its last compaction.
	mvcc.UnsafeSetScheduledCompact(tx, revision)
	mvcc.UnsafeSetFinishedCompact(tx, revision)
	tx.Unlock()
	b.ForceCommit()
	if err := b.Close(); err != nil {
		return err
	}
	return startCluster(logger, files, e.Member.withDefaults())
}
