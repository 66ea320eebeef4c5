package storage

import (
	"encoding/json"
	"fmt"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/pkg/v3/pbutil"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
	"go.etcd.io/etcd/server/v3/etcdserver/api/snap"
	"go.etcd.io/etcd/server/v3/etcdserver/cindex"
	"go.etcd.io/etcd/server/v3/storage/backend"
	"go.etcd.io/etcd/server/v3/storage/schema"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
)

// The raft log of a restored store has one entry: the change that adds its only
// member.
const (
	restoredTerm  = 1
	restoredIndex = 1
)

// startCluster makes the database in files the state of a new cluster with one
// member. The raft log starts with a snapshot, so that a member which joins
// later gets the database and not only what was written since.
func startCluster(logger *zap.Logger, files layout, identity Member) error {
	identity.join = nil
	_, urls, err := identity.urls()
	if err != nil {
		return err
	}
	cluster, err := membership.NewClusterFromURLsMap(logger, identity.Token, urls)
	if err != nil {
		return fmt.Errorf("cannot describe the cluster: %w", err)
	}
	member := cluster.MemberByName(identity.Name)
	state := &raftpb.ConfState{Voters: []uint64{uint64(member.ID)}}

	if err := writeMembership(logger, files.database(), cluster, state); err != nil {
		return err
	}
	return writeLog(logger, files, cluster, member, state)
}

// writeMembership replaces the members that the database names.
func writeMembership(logger *zap.Logger, database string, cluster *membership.RaftCluster, state *raftpb.ConfState) error {
	b := backend.NewDefaultBackend(logger, database)
	defer func() { _ = b.Close() }()
	members := schema.NewMembershipBackend(logger, b)
	if err := members.TrimMembershipFromBackend(); err != nil {
		return fmt.Errorf("cannot remove the members of the snapshot: %w", err)
	}
	cluster.SetBackend(members)
	for _, member := range cluster.Members() {
		cluster.AddMember(member, membership.ApplyBoth)
	}
	tx := b.BatchTx()
	tx.LockOutsideApply()
	schema.MustUnsafeSaveConfStateToBackend(logger, tx, state)
	tx.Unlock()
	cindex.UpdateConsistentIndexForce(tx, restoredIndex, restoredTerm)
	b.ForceCommit()
	return nil
}

// writeLog writes a raft log whose first state is the database.
func writeLog(logger *zap.Logger, files layout, cluster *membership.RaftCluster, member *membership.Member, state *raftpb.ConfState) error {
	log, err := wal.Create(logger, files.walDir(), pbutil.MustMarshalMessage(&etcdserverpb.Metadata{
		NodeID:    new(uint64(member.ID)),
		ClusterID: new(uint64(cluster.ID())),
	}))
	if err != nil {
		return fmt.Errorf("cannot create the raft log: %w", err)
	}
	defer func() { _ = log.Close() }()

	added, err := json.Marshal(member)
	if err != nil {
		return fmt.Errorf("cannot encode the member: %w", err)
	}
	entry := &raftpb.Entry{
		Type:  new(raftpb.EntryConfChange),
		Term:  new(uint64(restoredTerm)),
		Index: new(uint64(restoredIndex)),
		Data: pbutil.MustMarshalMessage(&raftpb.ConfChange{
			Type: new(raftpb.ConfChangeAddNode), NodeId: new(uint64(member.ID)), Context: added,
		}),
	}
	hard := &raftpb.HardState{
		Term: new(uint64(restoredTerm)), Vote: new(uint64(member.ID)), Commit: new(uint64(restoredIndex)),
	}
	if err := log.Save(hard, []*raftpb.Entry{entry}); err != nil {
		return fmt.Errorf("cannot write the raft log: %w", err)
	}
	err = snap.New(logger, files.snapDir()).SaveSnap(&raftpb.Snapshot{
		Data: etcdserver.GetMembershipInfoInV2Format(logger, cluster),
		Metadata: &raftpb.SnapshotMetadata{
			Index: new(uint64(restoredIndex)), Term: new(uint64(restoredTerm)), ConfState: state,
		},
	})
	if err != nil {
		return fmt.Errorf("cannot write the raft snapshot: %w", err)
	}
	err = log.SaveSnapshot(&walpb.Snapshot{
		Index: new(uint64(restoredIndex)), Term: new(uint64(restoredTerm)), ConfState: state,
	})
	if err != nil {
		return fmt.Errorf("cannot write the raft log: %w", err)
	}
	return nil
}
