package storesocket

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/sublet-dev/sublet/pkg/snapshot"
	"github.com/sublet-dev/sublet/pkg/storage"
	"github.com/sublet-dev/sublet/test/databases"
	"github.com/sublet-dev/sublet/test/goroutines"
)

func TestMain(m *testing.M) { goroutines.Verify(m) }

// TestDumpThroughSocket reads a store that another process has opened.
func TestDumpThroughSocket(t *testing.T) {
	t.Parallel()
	stores := map[string]storage.Backend{"sqlite": storage.SQLite(t.TempDir())}
	etcd := storage.Embedded(t.TempDir())
	etcd.NoSync, etcd.Logger = true, zap.NewNop()
	stores["embedded etcd"] = etcd
	for name, store := range stores {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if name == "sqlite" {
				databases.SkipUnderRace(t)
			}
			client, err := store.Start(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer store.Stop()
			if _, err := client.Put(t.Context(), "/registry/a", "1"); err != nil {
				t.Fatal(err)
			}
			dir, err := os.MkdirTemp("", "socket") //nolint:usetesting // The name of a socket is short.
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = os.RemoveAll(dir) }()
			socket := filepath.Join(dir, "s")
			if Answers(t.Context(), socket) {
				t.Error("a socket answers before it is served")
			}
			ctx, stop := context.WithCancel(t.Context())
			served := make(chan error, 1)
			go func() { served <- Serve(ctx, socket, store.Dial) }()
			dumpThrough(t, socket)
			stop()
			if err := <-served; err != nil {
				t.Errorf("Serve: %v", err)
			}
		})
	}
}

// dumpThrough dumps a store and checks the dump.
func dumpThrough(t *testing.T, socket string) {
	t.Helper()
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for !Answers(t.Context(), socket) {
		select {
		case <-deadline.C:
			t.Fatal("the socket does not answer")
		case <-ticker.C:
		}
	}
	info, err := os.Stat(socket)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket: got %v, %v, want mode 0600", info, err)
	}
	backend := NewBackend(socket)
	client, err := backend.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer backend.Stop()
	checkDump(t, client.Client)
}

func checkDump(t *testing.T, client *clientv3.Client) {
	t.Helper()
	var out bytes.Buffer
	if _, _, err := snapshot.Dump(t.Context(), client, &out, time.Unix(0, 0)); err != nil {
		t.Fatalf("Dump: %v", err)
	}
	dump, err := snapshot.OpenDump(t.Context(), bytes.NewReader(out.Bytes()))
	if err != nil || dump.Digest.Keys != 1 {
		t.Fatalf("OpenDump: got %+v, %v, want one key", dump, err)
	}
	if _, err := snapshot.Verify(t.Context(), dump, client); err != nil {
		t.Errorf("Verify: %v", err)
	}
}
