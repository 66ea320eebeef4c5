package storage

import (
	"context"
	"testing"

	"go.etcd.io/etcd/pkg/v3/pbutil"
	"go.etcd.io/raft/v3/raftpb"
)

// TestOneLearnerAtATime checks that a second learner is refused before etcd logs it.
func TestOneLearnerAtATime(t *testing.T) {
	t.Parallel()
	c := newTeam(t, "a-0")
	e, _ := c.start(t, "a-0", Known{})
	add := func(name, url string) error {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		_, err := e.addLearner(ctx, joinRequest{Name: name, URL: url})
		return err
	}
	if err := add("a-1", "https://127.0.0.1:1"); err != nil {
		t.Fatal(err)
	}
	if err := add("a-2", "https://127.0.0.1:2"); err == nil {
		t.Error("a second learner was added")
	}
	if members := e.server.Cluster().Members(); len(members) != 2 {
		t.Errorf("%d members, want the first and the learner", len(members))
	}
	e.Stop()
	if learners := loggedLearners(t, layout{e.serverDir()}.walDir()); learners != 1 {
		t.Errorf("etcd logged %d requests to add a learner, want 1", learners)
	}
}

// loggedLearners counts the requests to add a learner in the raft log of a stopped member. The
// other entries do not count: etcd logs requests of its own at any time, such as its version.
func loggedLearners(t *testing.T, walDir string) int {
	t.Helper()
	log, err := openLog(fatalOnly(t), walDir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	learners := 0
	for _, entry := range log.entries {
		if entry.GetType() != raftpb.EntryConfChange {
			continue
		}
		var change raftpb.ConfChange
		pbutil.MustUnmarshalMessage(&change, entry.GetData())
		if change.GetType() == raftpb.ConfChangeAddLearnerNode {
			learners++
		}
	}
	return learners
}
