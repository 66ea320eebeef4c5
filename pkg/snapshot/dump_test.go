package snapshot

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// dumpOf returns a dump of a store.
func dumpOf(t *testing.T, store Store) []byte {
	t.Helper()
	var out bytes.Buffer
	use(t, store, func(client *clientv3.Client) {
		if _, _, err := Dump(t.Context(), client, &out, time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)); err != nil {
			t.Fatalf("Dump: %v", err)
		}
	})
	return out.Bytes()
}

// TestRestore restores a dump of each kind of store into another one, so that each is the
// first and the second.
//
//nolint:tparallel // The subtests start servers first.
func TestRestore(t *testing.T) {
	pairs := []pair{
		{kindEmbedded, kindPostgres},
		{kindPostgres, kindMariaDB},
		{kindMariaDB, kindExternal},
		{kindExternal, kindSQLite},
		{kindSQLite, kindEmbedded},
	}
	forEachPair(t, pairs, func(t *testing.T, from, to location) {
		source, target := from.store(), to.store()
		fill(t, source, 600)
		before := read(t, source)
		dump, err := OpenDump(t.Context(), bytes.NewReader(dumpOf(t, source)))
		if err != nil {
			t.Fatalf("OpenDump: %v", err)
		}
		if dump.Header.Identity.Anchor != anchor || dump.Digest.Keys != 600 || dump.Digest.Expiring != events {
			t.Errorf("OpenDump: got %+v, %+v, want the store of %s with 600 keys", dump.Header, dump.Digest, anchor)
		}
		if err := Restore(t.Context(), target, dump, RestoreOptions{AtLeast: 50_000}); err != nil {
			t.Fatalf("Restore: %v", err)
		}
		after := read(t, target)
		if diff := cmp.Diff(before.values, after.values); diff != "" {
			t.Errorf("the restored store differs:\n%s", diff)
		}
		if after.lowest <= 50_000 {
			t.Errorf("a restored key has revision %d, want one above 50000", after.lowest)
		}
		if err := Restore(t.Context(), target, dump, RestoreOptions{}); !errors.Is(err, errNotEmpty) {
			t.Errorf("second Restore: got %v, want %v", err, errNotEmpty)
		}
		if err := refusalOf(t, target, ""); err != nil {
			t.Errorf("restored store: %v", err)
		}
		checkVerify(t, dump, target)
	})
	t.Parallel()
}

// TestRestoreIsNamed shows that each restore has another ID, which a move keeps.
func TestRestoreIsNamed(t *testing.T) {
	t.Parallel()
	source, first, second, moved := embedded(t), embedded(t), embedded(t), location{Kind: kindSQLite, Where: t.TempDir()}.store()
	fill(t, source, 20)
	dump, err := OpenDump(t.Context(), bytes.NewReader(dumpOf(t, source)))
	if err != nil {
		t.Fatal(err)
	}
	restoreOf := func(store Store) (restore string) {
		use(t, store, func(client *clientv3.Client) {
			served := NewServed(nil, store.Location)
			if err := served.admit(t.Context(), client); err != nil {
				t.Fatal(err)
			}
			restore = served.Restore()
		})
		return restore
	}
	for _, target := range []Store{first, second} {
		if err := Restore(t.Context(), target, dump, RestoreOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if none, a, b := restoreOf(source), restoreOf(first), restoreOf(second); none != "" || a == "" || b == "" || a == b {
		t.Errorf("restores: got %q, %q, %q, want none and two names", none, a, b)
	}
	want := restoreOf(first)
	if _, err := newMover(first, moved).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := restoreOf(moved); got != want {
		t.Errorf("after a move: got restore %q, want %q", got, want)
	}
}

// checkVerify changes a restored store and compares it with its dump.
func checkVerify(t *testing.T, dump *DumpFile, store Store) {
	t.Helper()
	use(t, store, func(client *clientv3.Client) {
		if _, err := Verify(t.Context(), dump, client); err != nil {
			t.Errorf("Verify: %v", err)
		}
		for key, value := range map[string]string{"/registry/configmaps/default/c00001": "x", "/registry/new": "y"} {
			if _, err := client.Put(t.Context(), key, value); err != nil {
				t.Fatal(err)
			}
		}
		for _, key := range []string{"/registry/configmaps/default/c00002", "/registry/events/default/e3"} {
			got, err := client.Get(t.Context(), key)
			if err != nil || len(got.Kvs) != 1 {
				t.Fatalf("Get %s: %v, %v", key, got, err)
			}
			if err := deleteAtRevision(t.Context(), client, key, got.Kvs[0].ModRevision); err != nil {
				t.Fatal(err)
			}
		}
		_, err := Verify(t.Context(), dump, client)
		want := &DifferentError{
			Missing: []string{"/registry/configmaps/default/c00002"},
			Changed: []string{"/registry/configmaps/default/c00001"}, Added: []string{"/registry/new"},
		}
		got, _ := errors.AsType[*DifferentError](err)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("Verify of a changed store:\n%s", diff)
		}
		if err != nil && !strings.Contains(err.Error(), "1 missing (/registry/configmaps/default/c00002); 1 changed") {
			t.Errorf("Verify: the message %q does not name the keys", err)
		}
	})
}

// TestDamagedDump changes each part of a dump.
func TestDamagedDump(t *testing.T) {
	t.Parallel()
	store := embedded(t)
	fill(t, store, 20)
	whole := dumpOf(t, store)
	for at := range whole {
		damaged := bytes.Clone(whole)
		damaged[at] ^= 0x55
		dump, err := OpenDump(t.Context(), bytes.NewReader(damaged))
		// gzip ignores some bits of its own header.
		if err == nil && at > 10 {
			t.Errorf("byte %d of %d changed: got %+v, want an error", at, len(whole), dump.Header)
		}
		if _, err := OpenDump(t.Context(), bytes.NewReader(whole[:at])); err == nil {
			t.Errorf("cut after byte %d of %d: got no error", at, len(whole))
		}
	}
}
