package storage

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
)

// settleCommits is how many commits settle makes. Readers end in the background,
// so that fewer may show nothing yet.
const settleCommits = 3

// usage returns the sizes of the database file and its limit.
func (e *Etcd) usage() Usage {
	backend := e.server.Backend()
	return Usage{Size: backend.Size(), InUse: backend.SizeInUse(), Quota: e.quota.Load()}
}

// defragment rewrites the database file without its free pages. All requests to this
// member wait meanwhile. It needs room on the volume for the part in use. Of several
// members one does so at a time, see takeTurn.
func (e *Etcd) defragment(ctx context.Context) error {
	end, err := e.takeTurn(ctx)
	if err != nil {
		return fmt.Errorf("cannot defragment the database: %w", err)
	}
	defer end()
	if err := e.server.Defragment(); err != nil {
		return fmt.Errorf("cannot defragment the database: %w", err)
	}
	return nil
}

// revision returns the current revision.
func (e *Etcd) revision() int64 { return e.server.KV().Rev() }

// compact deletes all revisions before the given one and returns once their
// space is free inside the file.
func (e *Etcd) compact(ctx context.Context, revision int64) error {
	_, err := e.server.Compact(ctx, &etcdserverpb.CompactionRequest{Revision: revision, Physical: true})
	if errors.Is(err, mvcc.ErrCompacted) {
		return nil // The periodic compaction was faster.
	}
	if err != nil {
		return fmt.Errorf("cannot compact the database: %w", err)
	}
	return nil
}

// refreshUsage makes the usage show what a compaction has freed. The database counts a
// page as free some commits later, when no reader can see it, and commits only
// if something was written. A store that denies writes would stay full.
func (e *Etcd) refreshUsage() {
	backend := e.server.Backend()
	tx := backend.BatchTx()
	for range settleCommits {
		tx.LockOutsideApply()
		if revision, found := mvcc.UnsafeReadFinishedCompact(tx); found {
			mvcc.UnsafeSetFinishedCompact(tx, revision)
		}
		tx.Unlock()
		backend.ForceCommit()
	}
}

// alarms returns the alarms that are set.
func (e *Etcd) alarms(context.Context) ([]Alarm, error) {
	var alarms []Alarm
	for _, set := range e.server.Alarms() {
		alarms = append(alarms, Alarm(set.Alarm.String()))
	}
	return alarms, nil
}

// disarm clears an alarm that this member has set, or one that has left the store.
func (e *Etcd) disarm(ctx context.Context, alarm Alarm) error {
	for _, set := range e.server.Alarms() {
		member := types.ID(set.MemberID)
		if set.Alarm.String() != string(alarm) || member != e.server.MemberID() && e.server.Cluster().Member(member) != nil {
			continue
		}
		_, err := e.server.Alarm(ctx, &etcdserverpb.AlarmRequest{
			Action:   etcdserverpb.AlarmRequest_DEACTIVATE,
			MemberID: set.MemberID,
			Alarm:    set.Alarm,
		})
		if err != nil {
			return fmt.Errorf("cannot disarm alarm %s: %w", alarm, err)
		}
	}
	return nil
}
