package storage

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"go.etcd.io/etcd/pkg/v3/pbutil"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.etcd.io/raft/v3/raftpb"
)

const (
	// forcedDir is the environment variable with the directory of the child of
	// TestForceNewLosesNoConfirmedWrite.
	forcedDir = "SUBLET_TEST_FORCE_NEW_WRITER"
	// forcedMembers is the environment variable with the names of its members.
	forcedMembers = "SUBLET_TEST_FORCE_NEW_MEMBERS"
	// forcedWrites is how many writes it confirms before it is killed.
	forcedWrites = 20
)

// TestForceNewLosesNoConfirmedWrite kills a process with all members, and makes one of them
// the only one. It must have each write that it has confirmed.
func TestForceNewLosesNoConfirmedWrite(t *testing.T) {
	t.Parallel()
	if dir := os.Getenv(forcedDir); dir != "" {
		confirmUntilKilled(t, dir, strings.Split(os.Getenv(forcedMembers), ","))
		return
	}
	for _, tt := range []struct {
		members []string
		reason  string
	}{
		{[]string{"a-0"}, "a lone member records a commit together with the next write"},
		{[]string{"a-0", "a-1", "a-2"}, "so does a member of three"},
	} {
		t.Run(fmt.Sprint(len(tt.members)), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			confirmed := killMembers(t, dir, tt.members)
			c := newTeam(t, tt.members...)
			c.dirs["a-0"] = filepath.Join(dir, "a-0")
			_, client := c.restart(t, "a-0", func(e *Etcd) { e.ForceNew = true })
			list, err := client.Kubernetes.List(t.Context(), "/registry/w/", kubernetes.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			stored := map[string]bool{}
			for _, kv := range list.Kvs {
				stored[string(kv.Key)] = true
			}
			for _, key := range confirmed {
				if !stored[key] {
					t.Errorf("%s was confirmed and is lost: %s", key, tt.reason)
				}
			}
		})
	}
}

// killMembers starts a process with members that write, kills it in the middle, and returns
// what it has confirmed.
func killMembers(t *testing.T, dir string, members []string) (confirmed []string) {
	t.Helper()
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestForceNewLosesNoConfirmedWrite$")
	child.Env = append(os.Environ(), forcedDir+"="+dir, forcedMembers+"="+strings.Join(members, ","))
	output, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	var other []string
	for lines := bufio.NewScanner(output); lines.Scan(); {
		key, ok := strings.CutSuffix(lines.Text(), " confirmed")
		if !ok {
			other = append(other, lines.Text())
			continue
		}
		// The lines that it has printed by then follow.
		if confirmed = append(confirmed, key); len(confirmed) == forcedWrites {
			_ = child.Process.Kill()
		}
	}
	_ = child.Wait()
	if len(confirmed) < forcedWrites {
		t.Fatalf("the members confirmed %d writes, want %d:\n%s", len(confirmed), forcedWrites, strings.Join(other, "\n"))
	}
	return confirmed
}

// confirmUntilKilled starts members, writes to the first one and prints each write that it
// confirms.
func confirmUntilKilled(t *testing.T, dir string, names []string) {
	t.Helper()
	c := newTeam(t, names...)
	for _, name := range names {
		c.dirs[name] = filepath.Join(dir, name)
	}
	_, client := c.start(t, names[0], Known{})
	for _, name := range names[1:] {
		c.join(t, name)
	}
	for i := 0; ; i++ {
		key := fmt.Sprintf("/registry/w/%06d", i)
		if _, err := client.Put(t.Context(), key, "1"); err != nil {
			t.Fatal(err)
		}
		// In one write, so that no line is cut.
		if _, err := io.WriteString(os.Stdout, key+" confirmed\n"); err != nil {
			t.Fatal(err)
		}
	}
}

// logEntry returns an entry of a raft log.
func logEntry(term, index uint64) *raftpb.Entry {
	return &raftpb.Entry{Type: new(raftpb.EntryNormal), Term: new(term), Index: new(index)}
}

// logRemoval returns an entry that removes a member.
func logRemoval(term, index, member uint64) *raftpb.Entry {
	return &raftpb.Entry{
		Type: new(raftpb.EntryConfChange), Term: new(term), Index: new(index),
		Data: pbutil.MustMarshalMessage(&raftpb.ConfChange{Type: new(raftpb.ConfChangeRemoveNode), NodeId: new(member)}),
	}
}

func TestCommittedState(t *testing.T) {
	t.Parallel()
	const self, other = 7, 8
	type state struct{ Term, Vote, Commit uint64 }
	for _, tt := range []struct {
		reason  string
		before  state
		entries []*raftpb.Entry
		want    state
	}{
		{"nothing follows the snapshot", state{2, self, 5}, nil, state{2, self, 5}},
		{"all is recorded as committed", state{2, self, 5}, []*raftpb.Entry{logEntry(2, 4), logEntry(2, 5)}, state{2, self, 5}},
		{"the last entries may be confirmed", state{2, other, 5}, []*raftpb.Entry{logEntry(2, 5), logEntry(2, 6), logEntry(2, 7)}, state{2, other, 7}},
		{"an entry of an earlier term may be confirmed", state{3, self, 5}, []*raftpb.Entry{logEntry(2, 6)}, state{3, self, 6}},
		{"the state of the entry's term is lost", state{2, self, 5}, []*raftpb.Entry{logEntry(3, 6)}, state{3, 0, 6}},
		{"the removal of another member", state{2, self, 5}, []*raftpb.Entry{logRemoval(2, 6, other), logEntry(2, 7)}, state{2, self, 7}},
		{"the removal of the member itself", state{2, self, 5}, []*raftpb.Entry{logEntry(2, 6), logRemoval(2, 7, self), logEntry(2, 8)}, state{2, self, 6}},
		{"a removal that was committed", state{2, self, 5}, []*raftpb.Entry{logRemoval(2, 5, self), logEntry(2, 6)}, state{2, self, 6}},
	} {
		t.Run(tt.reason, func(t *testing.T) {
			t.Parallel()
			before := &raftpb.HardState{Term: &tt.before.Term, Vote: &tt.before.Vote, Commit: &tt.before.Commit}
			after := (&raftLog{member: self, state: before, entries: tt.entries}).committedState()
			if diff := cmp.Diff(tt.want, state{after.GetTerm(), after.GetVote(), after.GetCommit()}); diff != "" {
				t.Errorf("state (-want +got):\n%s", diff)
			}
		})
	}
}

// TestForceNewWithTornLog shows that a record which a crash has cut does not keep a member
// from being the only one.
func TestForceNewWithTornLog(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	e, client := startEtcd(t, dir)
	writeKeys(t, client, 10)
	e.Stop()
	logs, err := filepath.Glob(filepath.Join(layout{e.serverDir()}.walDir(), "*.wal"))
	if err != nil || len(logs) != 1 {
		t.Fatalf("logs: %v, %v, want one", logs, err)
	}
	tearLog(t, logs[0])
	_, client = startEtcd(t, dir, func(e *Etcd) { e.ForceNew = true })
	if got := count(t, client); got != 10 {
		t.Errorf("the only member has %d keys, want 10", got)
	}
}

// tearLog appends the beginning of a record to a raft log, as a crash leaves it.
func tearLog(t *testing.T, path string) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	decoder := wal.NewDecoder(fileutil.NewFileReader(file))
	for record := new(walpb.Record); err == nil; err = decoder.Decode(record) {
	}
	record := binary.LittleEndian.AppendUint64(nil, 1<<10)
	if _, err := file.WriteAt(record, decoder.LastOffset()); err != nil {
		t.Fatal(err)
	}
	if err := file.Truncate(decoder.LastOffset() + int64(len(record)) + 10); err != nil {
		t.Fatal(err)
	}
}
