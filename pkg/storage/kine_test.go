package storage

import (
	"context"
	"fmt"
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
			dir := t.TempDir()
			return func() *Kine { return SQLite(dir) }, nil
		},
		"postgres": func(t *testing.T) (func() *Kine, *databases.Server) {
			t.Helper()
			server := databases.Postgres(t, databases.Options{TLS: true})
			options := DatabaseOptions{
				DataSource: server.PostgresSource(databases.User, databases.Password, ""), Name: "sublet_test", CAFile: server.CAFile,
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

// put writes a key and returns its revision.
func put(t *testing.T, client *kubernetes.Client, key, value string, expected int64) int64 {
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
	first := put(t, client, "/registry/a", "1", 0)
	if again, err := client.Kubernetes.OptimisticPut(ctx, "/registry/a", []byte("x"), 0, kubernetes.PutOptions{}); err != nil || again.Succeeded {
		t.Errorf("a second create: succeeded %t, %v", again.Succeeded, err)
	}
	second := put(t, client, "/registry/a", "2", first)
	late, err := client.Kubernetes.OptimisticPut(ctx, "/registry/a", []byte("x"), first, kubernetes.PutOptions{GetOnFailure: true})
	if err != nil || late.Succeeded || late.KV == nil || late.KV.ModRevision != second {
		t.Errorf("an update of an old revision: %+v, %v, want the current value", late, err)
	}
	if gone, err := client.Kubernetes.OptimisticDelete(ctx, "/registry/a", second, kubernetes.DeleteOptions{}); err != nil || !gone.Succeeded {
		t.Errorf("a delete: succeeded %t, %v", gone.Succeeded, err)
	}
	put(t, client, "/registry/a", "3", 0)
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
		last = put(t, client, fmt.Sprintf("/registry/pods/p%02d", i), "1", 0)
	}
	put(t, client, "/registry/podsandmore", "1", 0)
	put(t, client, "/registry/pods/p25", "1", 0)
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
