package backup

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/client/v3/kubernetes"
	"go.uber.org/zap"

	"github.com/sublet-dev/sublet/pkg/snapshot"
	"github.com/sublet-dev/sublet/pkg/storage"
)

// TestRestore backs up a real store, and restores the file into an empty one. Package
// snapshot does that for each kind of store.
func TestRestore(t *testing.T) {
	t.Parallel()
	source, target := newStore(t), newStore(t)
	client, stop := openStore(t, source)
	const record = "/registry/sublet.dev/encryption"
	want := map[string]string{record: `{"keys":[]}`}
	for i := range 300 {
		want[fmt.Sprintf("/registry/secrets/default/s%03d", i)] = fmt.Sprint("k8s:enc:secretbox:v1:key1:", i)
	}
	for key, value := range want {
		if _, err := client.Put(t.Context(), key, value); err != nil {
			t.Fatal(err)
		}
	}
	w := newWorld(t, "@daily", 1)
	w.Write = func(ctx context.Context, out io.Writer) error {
		_, _, err := snapshot.Dump(ctx, client.Client, out, w.clock.Now())
		return err
	}
	w.Verify = func(ctx context.Context, file io.ReadSeeker) error {
		_, err := snapshot.OpenDump(ctx, file)
		return err
	}
	file, err := w.take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	stop()

	for _, name := range []string{file.Name, Latest, "store-20250101T000000Z.backup"} { // From the second time on the store has content.
		backend, err := target.Open()
		if err != nil {
			t.Fatal(err)
		}
		var reports []string
		report := func(reason string) { reports = append(reports, reason) }
		restoring := &Restoring{Report: report, Backend: backend, Store: target, Dir: w.Dir, File: name, AtLeast: 70_000, Identity: `{"anchor":"uid"}`}
		restored, err := restoring.Start(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if want := []string{"The store is being restored from backup " + name, ""}; (name == file.Name) != slices.Equal(reports, want) {
			t.Errorf("%s: reported %q", name, reports)
		}
		if name != file.Name {
			want["/registry/secrets/default/s000"] = "changed"
		}
		checkContent(t, restored, want)
		if got, err := restored.KV.Get(t.Context(), record); err != nil || got.Header.Revision <= 70_000 {
			t.Errorf("%s: revision %d, %v, want one above what clients have seen", name, got.Header.Revision, err)
		}
		if _, err := restored.Put(t.Context(), "/registry/secrets/default/s000", "changed"); err != nil {
			t.Fatal(err)
		}
		backend.Stop()
	}
}

// checkContent compares a store with what it should have.
func checkContent(t *testing.T, restored *kubernetes.Client, want map[string]string) {
	t.Helper()
	for key, value := range want {
		got, err := restored.KV.Get(t.Context(), key)
		if err != nil || len(got.Kvs) != 1 || string(got.Kvs[0].Value) != value {
			t.Fatalf("%s: got %v, %v", key, got, err)
		}
	}
}

// TestCannotRestore checks what a store is not opened without.
func TestCannotRestore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "store-20260101T000000Z.backup"), []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ reason, dir, file, want string }{
		{"no such file", dir, "store-20250101T000000Z.backup", "no such file"},
		{"no backup at all", t.TempDir(), Latest, "the claim has no backup"},
		{"a damaged one", dir, Latest, "the file is not a dump"},
		{"a path out of the claim", dir, "../../etc/passwd", "no such file"},
	} {
		target := newStore(t)
		ctx, stop := context.WithCancel(t.Context())
		reported := ""
		restoring := &Restoring{Store: target, Dir: c.dir, File: c.file}
		restoring.Waiter.Report = func(reason string) { reported = reason; stop() }
		if _, err := restoring.Start(ctx); err == nil || !strings.Contains(reported, c.want) {
			t.Errorf("%s: got %q and %v, want something with %q", c.reason, reported, err, c.want)
		}
		stop()
	}
}

// TestBackupComesLater starts without a backup, and copies one to the claim while the start waits.
func TestBackupComesLater(t *testing.T) {
	t.Parallel()
	source, target, dir := newStore(t), newStore(t), t.TempDir()
	client, stop := openStore(t, source)
	defer stop()
	if _, err := client.Put(t.Context(), "/registry/a", "1"); err != nil {
		t.Fatal(err)
	}
	backend, err := target.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer backend.Stop()
	restoring := &Restoring{Backend: backend, Store: target, Dir: dir, File: Latest}
	restoring.Waiter.Report = func(reason string) {
		if reason == "" {
			return
		}
		file, err := os.Create(filepath.Join(dir, fileName(time.Now())))
		if err != nil {
			t.Error(err)
			return
		}
		if _, _, err := snapshot.Dump(t.Context(), client.Client, file, time.Now()); err != nil {
			t.Error(err)
		}
		if err := file.Close(); err != nil {
			t.Error(err)
		}
	}
	restored, err := restoring.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	checkContent(t, restored, map[string]string{"/registry/a": "1"})
}

func newStore(t *testing.T) snapshot.Store {
	t.Helper()
	dir := t.TempDir()
	return snapshot.Store{Location: "etcd.embedded", OnVolume: true, Open: func() (storage.Backend, error) {
		store := storage.Embedded(dir)
		store.NoSync, store.Logger = true, zap.NewNop()
		return store, nil
	}}
}

// openStore opens a store until the returned function is called.
func openStore(t *testing.T, store snapshot.Store) (*kubernetes.Client, func()) {
	t.Helper()
	backend, err := store.Open()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	client, err := backend.Start(ctx)
	if err != nil {
		backend.Stop()
		t.Fatal(err)
	}
	return client, backend.Stop
}

// TestCancelled ends a term in the middle of a backup.
func TestCancelled(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "@daily", 1)
	begun := make(chan struct{})
	w.Write = func(ctx context.Context, out io.Writer) error {
		_, _ = io.WriteString(out, "half")
		close(begun)
		<-ctx.Done()
		return context.Cause(ctx)
	}
	stop := w.run()
	select {
	case <-begun:
	case <-time.After(patience):
		t.Fatal("no backup")
	}
	stop()
	if files := w.files(); len(files) > 0 || len(w.events) > 0 {
		t.Errorf("the end of a term is no failure: %v, %d Events", files, len(w.events))
	}
}
