package storage

import (
	"errors"
	"fmt"
	"io"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/pkg/v3/pbutil"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
)

// raftLog is an open raft log, with what follows its last snapshot.
type raftLog struct {
	*wal.WAL
	member  uint64
	state   *raftpb.HardState
	entries []*raftpb.Entry
}

// commitLog marks all entries of the raft log as committed. A start with ForceNew discards all entries that
// are not marked. But a member marks an entry only together with its next write, so after a crash the
// last confirmed writes are not marked. Unconfirmed entries are kept too, because a request without an
// answer may take effect.
func (e *Etcd) commitLog(logger *zap.Logger, walDir string) error {
	if !wal.Exist(walDir) {
		return nil
	}
	log, err := openLog(logger, walDir)
	if err != nil {
		return err
	}
	if e.NoSync {
		log.SetUnsafeNoFsync()
	}
	err = log.Save(log.committedState(), nil)
	if err := errors.Join(err, log.Sync(), log.Close()); err != nil {
		return fmt.Errorf("cannot write the raft log: %w", err)
	}
	return nil
}

// openLog opens the raft log to append to it. Like etcd, it cuts off an incomplete record of a crash, which
// was never confirmed.
func openLog(logger *zap.Logger, walDir string) (*raftLog, error) {
	log, err := readLog(logger, walDir)
	if errors.Is(err, io.ErrUnexpectedEOF) && wal.Repair(logger, walDir) {
		log, err = readLog(logger, walDir)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the raft log: %w", err)
	}
	return log, nil
}

// readLog opens the raft log to append to it.
func readLog(logger *zap.Logger, walDir string) (*raftLog, error) {
	snapshots, err := wal.ValidSnapshotEntries(logger, walDir)
	if err != nil {
		return nil, err
	}
	start := &walpb.Snapshot{}
	if len(snapshots) > 0 {
		start = snapshots[len(snapshots)-1]
	}
	log, err := wal.Open(logger, walDir, start)
	if err != nil {
		return nil, err
	}
	content, state, entries, err := log.ReadAll()
	if err != nil {
		return nil, errors.Join(err, log.Close())
	}
	var metadata etcdserverpb.Metadata
	pbutil.MustUnmarshalMessage(&metadata, content)
	return &raftLog{WAL: log, member: metadata.GetNodeID(), state: state, entries: entries}, nil
}

// committedState returns the state of raft with the last entry as committed. It stops before
// an entry that removes the member itself, with which no start would succeed.
func (l *raftLog) committedState() *raftpb.HardState {
	commit, term, vote := l.state.GetCommit(), l.state.GetTerm(), l.state.GetVote()
	for _, entry := range l.entries {
		if entry.GetIndex() <= commit {
			continue
		}
		if l.removesSelf(entry) {
			break
		}
		commit = entry.GetIndex()
		if entry.GetTerm() > term {
			// The crash came between the entry and the state of its term.
			term, vote = entry.GetTerm(), 0
		}
	}
	return &raftpb.HardState{Term: new(term), Vote: new(vote), Commit: new(commit)}
}

// removesSelf reports whether an entry removes the member of the log from the others.
func (l *raftLog) removesSelf(entry *raftpb.Entry) bool {
	if entry.GetType() != raftpb.EntryConfChange {
		return false
	}
	var change raftpb.ConfChange
	pbutil.MustUnmarshalMessage(&change, entry.GetData())
	return change.GetType() == raftpb.ConfChangeRemoveNode && change.GetNodeId() == l.member
}
