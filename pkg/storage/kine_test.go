package storage

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"

	"github.com/sublet-dev/sublet/test/databases"
)

// startKine starts a store and stops it at the end of the test.
func startKine(t *testing.T, store *Kine) *kubernetes.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	client, err := store.Start(ctx)
	if err != nil {
		t.Fatalf("Start: %v", err)
	}
	t.Cleanup(store.Stop)
	return client
}

// kinds returns a function for each kind of database. It makes an empty database and
// returns a function that opens it, as often as wanted.
func kinds() map[string]func(t *testing.T) (open func() *Kine, server *databases.Server) {
	return map[string]func(t *testing.T) (func() *Kine, *databases.Server){
		"sqlite": func(t *testing.T) (func() *Kine, *databases.Server) {
			t.Helper()
			databases.SkipUnderRace(t)
			dir := t.TempDir()
			return func() *Kine { return SQLite(dir) }, nil
		},
		"postgres": func(t *testing.T) (func() *Kine, *databases.Server) {
			t.Helper()
			server := databases.Postgres(t, databases.Options{TLS: true})
			options := DatabaseOptions{
				DataSource: server.PostgresSource(databases.User, databases.Password, ""), Name: "sublet_test", TLS: TLSFiles{CA: server.CAFile},
			}
			return func() *Kine { return Database(options) }, server
		},
		"mariadb": func(t *testing.T) (func() *Kine, *databases.Server) {
			t.Helper()
			server := databases.MariaDB(t, databases.Options{})
			options := DatabaseOptions{DataSource: server.MySQLSource(databases.User, databases.Password, ""), Name: "sublet_test"}
			return func() *Kine { return Database(options) }, server
		},
	}
}

// servers returns those of [kinds] that have a server.
func servers() map[string]func(t *testing.T) (open func() *Kine, server *databases.Server) {
	all := kinds()
	delete(all, "sqlite")
	return all
}

// mustPut writes a key and returns its revision.
func mustPut(t *testing.T, client *kubernetes.Client, key, value string, expected int64) int64 {
	t.Helper()
	response, err := client.Kubernetes.OptimisticPut(t.Context(), key, []byte(value), expected, kubernetes.PutOptions{})
	if err != nil || !response.Succeeded {
		t.Fatalf("OptimisticPut %s at %d: succeeded %t, %v", key, expected, response.Succeeded, err)
	}
	return response.Revision
}

func TestDatabasesKeepTheProtocol(t *testing.T) {
	t.Parallel()
	for name, create := range kinds() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			open, _ := create(t)
			store := open()
			client := startKine(t, store)
			testWrites(t, client)
			testRanges(t, client)
			testLeases(t, client)
			store.Stop()

			client = startKine(t, open())
			got, err := client.Kubernetes.Get(t.Context(), "/registry/a", kubernetes.GetOptions{})
			if err != nil || got.KV == nil || string(got.KV.Value) != "3" {
				t.Errorf("after a restart: %v, %v, want the last value", got.KV, err)
			}
		})
	}
}

// testWrites checks creates, updates, deletes, conflicts, and the watch of all.
func testWrites(t *testing.T, client *kubernetes.Client) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	watch := client.Watch(ctx, "/registry/a", clientv3.WithPrevKV())
	first := mustPut(t, client, "/registry/a", "1", 0)
	if again, err := client.Kubernetes.OptimisticPut(ctx, "/registry/a", []byte("x"), 0, kubernetes.PutOptions{}); err != nil || again.Succeeded {
		t.Errorf("a second create: succeeded %t, %v", again.Succeeded, err)
	}
	second := mustPut(t, client, "/registry/a", "2", first)
	late, err := client.Kubernetes.OptimisticPut(ctx, "/registry/a", []byte("x"), first, kubernetes.PutOptions{GetOnFailure: true})
	if err != nil || late.Succeeded || late.KV == nil || late.KV.ModRevision != second {
		t.Errorf("an update of an old revision: %+v, %v, want the current value", late, err)
	}
	if gone, err := client.Kubernetes.OptimisticDelete(ctx, "/registry/a", second, kubernetes.DeleteOptions{}); err != nil || !gone.Succeeded {
		t.Errorf("a delete: succeeded %t, %v", gone.Succeeded, err)
	}
	mustPut(t, client, "/registry/a", "3", 0)
	old, err := client.Kubernetes.Get(ctx, "/registry/a", kubernetes.GetOptions{Revision: first})
	if err != nil || old.KV == nil || string(old.KV.Value) != "1" {
		t.Errorf("get of an old revision: %v, %v", old.KV, err)
	}

	var seen []string
	for len(seen) < 4 {
		select {
		case response := <-watch:
			for _, event := range response.Events {
				seen = append(seen, fmt.Sprintf("%s %s", event.Type, event.Kv.Value))
			}
		case <-t.Context().Done():
			t.Fatalf("events: %v, then none", seen)
		}
	}
	if want := []string{"PUT 1", "PUT 2", "DELETE ", "PUT 3"}; !slices.Equal(seen, want) {
		t.Errorf("events: %q, want %q", seen, want)
	}
}

// testRanges checks lists with a limit, with a start, at an old revision, and counts.
func testRanges(t *testing.T, client *kubernetes.Client) {
	t.Helper()
	ctx := t.Context()
	var last int64
	for i := range 25 {
		last = mustPut(t, client, fmt.Sprintf("/registry/pods/p%02d", i), "1", 0)
	}
	mustPut(t, client, "/registry/podsandmore", "1", 0)
	mustPut(t, client, "/registry/pods/p25", "1", 0)
	var keys []string
	next := ""
	for {
		list, err := client.Kubernetes.List(ctx, "/registry/pods/", kubernetes.ListOptions{Limit: 10, Revision: last, Continue: next})
		if err != nil {
			t.Fatalf("List: %v", err)
		}
		for _, kv := range list.Kvs {
			keys = append(keys, string(kv.Key))
		}
		if int64(len(list.Kvs)) >= list.Count {
			break
		}
		next = keys[len(keys)-1] + "\x00"
	}
	if len(keys) != 25 || !slices.IsSorted(keys) || len(slices.Compact(slices.Clone(keys))) != 25 {
		t.Errorf("pages: got %d keys, want 25 in order and each once: %s", len(keys), strings.Join(keys, " "))
	}
	if count, err := client.Kubernetes.Count(ctx, "/registry/pods/", kubernetes.CountOptions{}); err != nil || count != 26 {
		t.Errorf("Count: %d, %v, want 26", count, err)
	}
	whole, err := client.KV.Get(ctx, "\x00", clientv3.WithFromKey(), clientv3.WithKeysOnly())
	if err != nil || whole.Count < 28 {
		t.Errorf("all keys: %d, %v", whole.Count, err)
	}
}

// testLeases checks that a key ends with its lease.
func testLeases(t *testing.T, client *kubernetes.Client) {
	t.Helper()
	lease, err := client.Lease.Grant(t.Context(), 1)
	if err != nil {
		t.Fatalf("Grant: %v", err)
	}
	response, err := client.Kubernetes.OptimisticPut(t.Context(), "/registry/events/e", []byte("1"), 0, kubernetes.PutOptions{LeaseID: lease.ID})
	if err != nil || !response.Succeeded {
		t.Fatalf("OptimisticPut with a lease: %v", err)
	}
	eventually(t, func() string {
		got, err := client.Kubernetes.Get(t.Context(), "/registry/events/e", kubernetes.GetOptions{})
		if err != nil || got.KV != nil {
			return fmt.Sprintf("a key with a lease of a second: %v, %v", got.KV, err)
		}
		return ""
	})
}

// TestSchemasArePerVirtualCluster opens two stores in one database, each with a schema of
// its own.
func TestSchemasArePerVirtualCluster(t *testing.T) {
	t.Parallel()
	server := databases.Postgres(t, databases.Options{})
	source := server.PostgresSource(databases.User, databases.Password, "shared")
	first := startKine(t, Database(DatabaseOptions{DataSource: source + "?search_path=one"}))
	second := startKine(t, Database(DatabaseOptions{DataSource: source + "?search_path=two"}))
	mustPut(t, first, "/registry/a", "1", 0)
	if got, err := second.Kubernetes.Get(t.Context(), "/registry/a", kubernetes.GetOptions{}); err != nil || got.KV != nil {
		t.Errorf("the other schema has %v, %v", got.KV, err)
	}
	mustPut(t, second, "/registry/a", "2", 0)
}

// TestStoreOfAnotherIsRefused opens a database that has the identity of another virtual
// cluster.
func TestStoreOfAnotherIsRefused(t *testing.T) {
	t.Parallel()
	for name, create := range kinds() {
		if name == "sqlite" {
			continue // the volume proves whose it is
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			open, _ := create(t)
			own := &Owned{Backend: open(), Identity: Identity{Anchor: "uid-1", Namespace: "a", Name: "shop"}}
			if _, err := own.Start(t.Context()); err != nil {
				t.Fatalf("Start: %v", err)
			}
			own.Stop()

			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			var reported []string
			other := &Owned{
				Backend: open(), Identity: Identity{Anchor: "uid-2", Namespace: "b", Name: "shop"},
				Waiter: Waiter{Report: func(reason string) {
					reported = append(reported, reason)
					if strings.Contains(reason, "belongs to") { // A busy database may not answer in time at first.
						cancel()
					}
				}},
			}
			_, err := other.Start(ctx)
			other.Stop()
			if err == nil || len(reported) == 0 || !strings.Contains(reported[len(reported)-1], "belongs to virtual cluster a/shop") {
				t.Errorf("Start: %v, reported %q, want that it belongs to another", err, reported)
			}

			again := &Owned{Backend: open(), Identity: own.Identity}
			if _, err := again.Start(t.Context()); err != nil {
				t.Errorf("the owner again: %v", err)
			}
			again.Stop()
		})
	}
}

// TestSQLiteGivesSpaceBack writes and deletes much, and looks at the file.
func TestSQLiteGivesSpaceBack(t *testing.T) {
	databases.SkipUnderRace(t)
	t.Parallel()
	dir := t.TempDir()
	store := SQLite(dir)
	client := startKine(t, store)
	value := strings.Repeat("x", 1<<20)
	revision := mustPut(t, client, "/registry/big", value, 0)
	for range 60 {
		revision = mustPut(t, client, "/registry/big", value, revision)
	}
	care := store.care.Load()
	if err := care.measure(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := care.usage()
	if _, err := client.Compact(t.Context(), revision); err != nil {
		t.Fatalf("Compact: %v", err)
	}
	if _, err := client.KV.Get(t.Context(), "/registry/big", clientv3.WithRev(revision-10)); err == nil {
		t.Error("a compacted revision is still readable")
	}
	eventually(t, func() string {
		care.maintain(t.Context())
		if usage := care.usage(); usage.Size > before.Size/2 {
			return fmt.Sprintf("the file has %d MiB of %d MiB, %d MiB in use", usage.Size/mib, before.Size/mib, usage.InUse/mib)
		}
		return ""
	})
	if err := store.Capabilities().Defragment(t.Context()); err != nil {
		t.Errorf("Defragment: %v", err)
	}
}

// TestPurgeForgetsReplacedValues replaces a value in each kind of database. Nothing of the database has
// it after a compaction and a purge.
func TestPurgeForgetsReplacedValues(t *testing.T) {
	t.Parallel()
	const secret = "a password in plain text"
	for name, create := range kinds() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			open, _ := create(t)
			store := open()
			client := startKine(t, store)
			revision := mustPut(t, client, "/registry/a", secret, 0)
			revision = mustPut(t, client, "/registry/a", "k8s:enc:1", revision)
			if _, err := client.Compact(t.Context(), revision); err != nil {
				t.Fatalf("Compact: %v", err)
			}
			if err := store.Capabilities().Purge(t.Context()); err != nil {
				t.Fatalf("Purge: %v", err)
			}
			var rows int
			err := store.dialect.DB.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM kine WHERE old_value IS NOT NULL").Scan(&rows)
			if err != nil || rows != 0 {
				t.Errorf("%d rows have a replaced value, %v", rows, err)
			}
			if got, err := client.Kubernetes.Get(t.Context(), "/registry/a", kubernetes.GetOptions{}); err != nil || string(got.KV.Value) != "k8s:enc:1" {
				t.Errorf("the value: %v, %v", got.KV, err)
			}
			mustPut(t, client, "/registry/a", "k8s:enc:2", revision)
			if local := store.local(); local != nil {
				checkFilesLack(t, local.dir, secret)
			}
		})
	}
}

// checkFilesLack fails if a file in a directory has the text.
func checkFilesLack(t *testing.T, dir, text string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		content, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(content), text) {
			t.Errorf("%s has %q", entry.Name(), text)
		}
	}
}

// TestResetRaisesTheRevision empties each kind of database at a later revision.
func TestResetRaisesTheRevision(t *testing.T) {
	t.Parallel()
	for name, create := range kinds() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			open, _ := create(t)
			store := open()
			client := startKine(t, store)
			old := mustPut(t, client, "/registry/a", "1", 0)
			store.Stop()

			const revision = 5000
			store = open()
			if err := store.Capabilities().Reset(t.Context(), revision); err != nil {
				t.Fatalf("Reset: %v", err)
			}
			client = startKine(t, store)
			if got, err := client.Kubernetes.Get(t.Context(), "/registry/a", kubernetes.GetOptions{}); err != nil || got.KV != nil || got.Revision <= revision {
				t.Errorf("after a reset: %v at revision %d, %v", got.KV, got.Revision, err)
			}
			if created := mustPut(t, client, "/registry/a", "2", 0); created <= revision {
				t.Errorf("a write has revision %d, want more than %d", created, revision)
			}
			response := <-client.Watch(t.Context(), "/registry/a", clientv3.WithRev(old))
			if response.CompactRevision != revision {
				t.Errorf("a watch from before: compacted at %d, %v, want %d", response.CompactRevision, response.Err(), revision)
			}
		})
	}
}
