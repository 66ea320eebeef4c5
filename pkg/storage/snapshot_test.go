package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
)

// content returns all keys of a store with value and revision.
func content(t *testing.T, client *kubernetes.Client) (keys map[string]string, revision int64) {
	t.Helper()
	got := read(t, client, "/registry/", clientv3.WithPrefix())
	keys = map[string]string{}
	for _, kv := range got.Kvs {
		keys[string(kv.Key)] = fmt.Sprintf("%s@%d/%d", kv.Value, kv.CreateRevision, kv.ModRevision)
	}
	return keys, got.Header.Revision
}

// takeSnapshot returns a snapshot of a store with some history.
func takeSnapshot(t *testing.T, e *Etcd, client *kubernetes.Client) []byte {
	t.Helper()
	for i := range 20 {
		if _, err := client.Put(t.Context(), fmt.Sprintf("/registry/%d", i%7), fmt.Sprint(i)); err != nil {
			t.Fatalf("Put: %v", err)
		}
	}
	if _, err := client.Delete(t.Context(), "/registry/3"); err != nil {
		t.Fatalf("Delete: %v", err)
	}
	var snapshot bytes.Buffer
	if err := e.Capabilities().Snapshot(t.Context(), &snapshot); err != nil {
		t.Fatalf("Snapshot: %v", err)
	}
	return snapshot.Bytes()
}

func TestRestore(t *testing.T) {
	t.Parallel()
	e, client := startEtcd(t, t.TempDir(), released)
	snapshot := takeSnapshot(t, e, client)
	wantKeys, wantRevision := content(t, client)
	if _, err := client.Put(t.Context(), "/registry/later", "1"); err != nil {
		t.Fatalf("Put: %v", err)
	}

	dir := t.TempDir()
	restored := Embedded(dir)
	named(restored)
	restored.Logger = fatalOnly(t)
	if err := restored.Capabilities().Restore(t.Context(), bytes.NewReader(snapshot)); err != nil {
		t.Fatalf("Restore: %v", err)
	}
	restored.Stop()

	for _, start := range []string{"the first start", "a restart"} {
		e, client := startEtcd(t, dir, named)
		keys, revision := content(t, client)
		if diff := cmp.Diff(wantKeys, keys); diff != "" {
			t.Errorf("content after %s (-snapshot +restored):\n%s", start, diff)
		}
		if revision != wantRevision {
			t.Errorf("after %s: revision %d, want %d", start, revision, wantRevision)
		}
		if members := e.server.Cluster().Members(); len(members) != 1 || members[0].Name != "team-a-0" {
			t.Errorf("after %s: members %+v, want the restored one alone", start, members)
		}
		e.Stop()
	}
	_, client = startEtcd(t, dir, named)
	put, err := client.Put(t.Context(), "/registry/new", "1")
	if err != nil || put.Header.Revision != wantRevision+1 {
		t.Errorf("the first write has revision %v, %v; want %d", put, err, wantRevision+1)
	}
}

// TestMemberJoinsRestoredStore shows that a member which joins gets what was
// restored, although it is not in the raft log.
func TestMemberJoinsRestoredStore(t *testing.T) {
	t.Parallel()
	e, client := startEtcd(t, t.TempDir())
	snapshot := takeSnapshot(t, e, client)
	want, _ := content(t, client)

	c := newTeam(t, "team-a-0", "team-a-1")
	restored := Embedded(c.dirs["team-a-0"])
	restored.Logger = fatalOnly(t)
	restored.Member = Member{Name: "team-a-0", PeerURL: c.urls["team-a-0"], Token: "2f8b"}
	if err := restored.Capabilities().Restore(t.Context(), bytes.NewReader(snapshot)); err != nil {
		t.Fatalf("Restore: %v", err)
	}
	restored.Stop()
	c.start(t, "team-a-0", Known{})
	_, follower := c.join(t, "team-a-1")
	got, _ := content(t, follower)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("content of the second member (-first +second):\n%s", diff)
	}
}

func TestRestoreRefuses(t *testing.T) {
	t.Parallel()
	e, client := startEtcd(t, t.TempDir())
	snapshot := takeSnapshot(t, e, client)
	damaged := bytes.Clone(snapshot)
	damaged[len(damaged)/2] ^= 1

	for _, tc := range []struct {
		reason   string
		snapshot []byte
		prepare  func(dir string) error
		want     error
	}{
		{"an empty file", nil, nil, errNoChecksum},
		{"a file without its end", snapshot[:len(snapshot)-100], nil, errNoChecksum},
		{"a damaged file", damaged, nil, errBadChecksum},
		{
			"a directory with a store in it", snapshot,
			func(dir string) error { return os.MkdirAll(filepath.Join(dir, "etcd", "member"), 0o700) }, errNotEmpty,
		},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if tc.prepare != nil {
				if err := tc.prepare(dir); err != nil {
					t.Fatal(err)
				}
			}
			target := Embedded(dir)
			defer target.Stop()
			if err := target.Capabilities().Restore(t.Context(), bytes.NewReader(tc.snapshot)); !errors.Is(err, tc.want) {
				t.Fatalf("Restore of %s: got %v, want %v", tc.reason, err, tc.want)
			}
			if _, err := os.Stat(filepath.Join(dir, "etcd.restore")); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("Restore left a half-built store: %v", err)
			}
		})
	}
}

func TestSnapshotEndsWithItsContext(t *testing.T) {
	t.Parallel()
	e, _ := startEtcd(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := e.Capabilities().Snapshot(ctx, &bytes.Buffer{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Snapshot after a cancel: got %v, want %v", err, context.Canceled)
	}
}
