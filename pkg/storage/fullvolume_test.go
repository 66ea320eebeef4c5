package storage

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.etcd.io/etcd/client/v3/kubernetes"
	"golang.org/x/sys/unix"

	"github.com/sublet-dev/sublet/test/databases"
)

// TestSQLiteStartsOnFullVolume fills the volume of an SQLite database. It starts again, and keys can be
// deleted.
func TestSQLiteStartsOnFullVolume(t *testing.T) {
	databases.SkipUnderRace(t)
	t.Parallel()
	volume := mountVolume(t, "256m")
	open := func() *Kine {
		store := SQLite(filepath.Join(volume, "sqlite"))
		store.Reserve = 32 * mib
		return store
	}
	store := open()
	client := startKine(t, store)
	revision := mustPut(t, client, "/registry/a", strings.Repeat("x", 1<<20), 0)
	eventually(t, func() string {
		store.care.Load().maintain(t.Context())
		if _, err := os.Stat(filepath.Join(volume, "sqlite", "reserve")); err != nil {
			return err.Error()
		}
		return ""
	})
	for range 2 { // The stop writes to the volume, too.
		fillVolume(t, filepath.Join(volume, "somebody's file"))
		store.Stop()
	}

	client = startKine(t, open())
	response, err := client.Kubernetes.OptimisticDelete(t.Context(), "/registry/a", revision, kubernetes.DeleteOptions{})
	if err != nil || !response.Succeeded {
		t.Errorf("a delete on a full volume: %t, %v", response.Succeeded, err)
	}
}

// TestEtcdStartsOnFullVolume fills the volume of an embedded store while it is stopped. It starts again, and keys can be
// deleted.
func TestEtcdStartsOnFullVolume(t *testing.T) {
	t.Parallel()
	volume := mountVolume(t, "800m")
	dir := filepath.Join(volume, "etcd")
	reserves := func(e *Etcd) { e.Reserve = 160 * mib }
	store, client := startEtcd(t, dir, reserves)
	revision := mustPut(t, client, "/registry/a", strings.Repeat("x", mib), 0)
	eventually(t, func() string {
		if _, err := os.Stat(filepath.Join(dir, "reserve")); err != nil {
			return err.Error()
		}
		return ""
	})
	store.Stop()
	fillVolume(t, filepath.Join(volume, "somebody's file"))

	_, client = startEtcd(t, dir, reserves)
	response, err := client.Kubernetes.OptimisticDelete(t.Context(), "/registry/a", revision, kubernetes.DeleteOptions{})
	if err != nil || !response.Succeeded {
		t.Errorf("a delete on a full volume: %t, %v", response.Succeeded, err)
	}
}

// mountVolume returns a volume of that size in memory.
func mountVolume(t *testing.T, size string) string {
	t.Helper()
	volume := t.TempDir()
	if err := unix.Mount("tmpfs", volume, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("cannot mount a volume here: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(volume, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return volume
}

// fillVolume writes to a file until its volume is full.
func fillVolume(t *testing.T, name string) {
	t.Helper()
	file, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{mib, 4096, 1} {
		for err == nil {
			_, err = file.Write(make([]byte, size))
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
		err = nil
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestBrokenSQLite opens what is no database. The start fails at once.
func TestBrokenSQLite(t *testing.T) {
	databases.SkipUnderRace(t)
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "state.db"), []byte(strings.Repeat("no database", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	store := SQLite(dir)
	t.Cleanup(store.Stop)
	if _, err := store.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "file is not a database") {
		t.Errorf("Start: %v, want that the file is no database", err)
	}
}
