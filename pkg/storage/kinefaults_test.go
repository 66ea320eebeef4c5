package storage

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"

	"github.com/sublet-dev/sublet/test/databases"
)

// TestDatabasesLoseNoConfirmedWrite kills the database under several writers, starts it
// again, and looks for what was confirmed, and for what a watch of all has seen.
func TestDatabasesLoseNoConfirmedWrite(t *testing.T) {
	t.Parallel()
	for name, create := range kinds() {
		if name == "sqlite" {
			continue // it dies with the process: see TestSQLiteLosesNoConfirmedWrite
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			open, server := create(t)
			client := startKine(t, open())
			writers, confirmed := startWriters(t, client, 6)
			for range 3 {
				eventually(t, moreThan(confirmed, confirmed.len()+200))
				server.Kill()
				server.Start()
			}
			eventually(t, moreThan(confirmed, confirmed.len()+50))
			writers()

			seen := watchedUntil(t, client)
			list, err := client.Kubernetes.List(t.Context(), "/registry/w/", kubernetes.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			stored := map[string]int64{}
			for _, kv := range list.Kvs {
				stored[string(kv.Key)] = kv.ModRevision
			}
			for key, revision := range confirmed.all() {
				if stored[key] != revision {
					t.Errorf("%s was confirmed at revision %d, the store has %d", key, revision, stored[key])
				}
				if seen[key] != revision {
					t.Errorf("%s was confirmed at revision %d, the watch saw %d", key, revision, seen[key])
				}
			}
			t.Logf("%d confirmed, %d stored", confirmed.len(), len(stored))
		})
	}
}

// confirmedWrites are the writes that the store has confirmed.
type confirmedWrites struct {
	mu        sync.Mutex
	revisions map[string]int64
}

func (c *confirmedWrites) add(key string, revision int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.revisions[key] = revision
}

func (c *confirmedWrites) len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.revisions)
}

func (c *confirmedWrites) all() map[string]int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.revisions
}

// moreThan returns a check that there are more writes than n.
func moreThan(writes *confirmedWrites, n int) func() string {
	return func() string {
		if got := writes.len(); got <= n {
			return fmt.Sprintf("%d writes are confirmed, want more than %d", got, n)
		}
		return ""
	}
}

// startWriters creates keys until the returned function is called.
func startWriters(t *testing.T, client *kubernetes.Client, n int) (stop func(), confirmed *confirmedWrites) {
	t.Helper()
	confirmed = &confirmedWrites{revisions: map[string]int64{}}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for w := range n {
		running.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				key := fmt.Sprintf("/registry/w/%d-%06d", w, i)
				response, err := client.Kubernetes.OptimisticPut(ctx, key, []byte(key), 0, kubernetes.PutOptions{})
				switch {
				case err == nil && response.Succeeded:
					confirmed.add(key, response.Revision)
				case err == nil:
					t.Errorf("create of the new key %s: conflict", key)
				default:
					select {
					case <-ctx.Done():
					case <-time.After(20 * time.Millisecond):
					}
				}
			}
		})
	}
	stop = sync.OnceFunc(func() { cancel(); running.Wait() })
	t.Cleanup(stop)
	return stop, confirmed
}

// watchedUntil returns what a watch from the first revision on sees of the writers, up to
// the current revision.
func watchedUntil(t *testing.T, client *kubernetes.Client) map[string]int64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	last := mustPut(t, client, "/registry/w/last", "1", 0)
	seen := map[string]int64{}
	for response := range client.Watch(ctx, "/registry/w/", clientv3.WithPrefix(), clientv3.WithRev(1)) {
		if err := response.Err(); err != nil {
			t.Fatal(err)
		}
		for _, event := range response.Events {
			seen[string(event.Kv.Key)] = event.Kv.ModRevision
			if event.Kv.ModRevision >= last {
				return seen
			}
		}
	}
	t.Fatal("the watch ended early")
	return nil
}

// TestPasswordIsRotated changes the password of each database server outside of the process, and the data
// source after it. The running store needs no restart.
func TestPasswordIsRotated(t *testing.T) {
	t.Parallel()
	const next = "another-password"
	for _, c := range []struct {
		name, statement string
		server          func(t *testing.T, o databases.Options) *databases.Server
		source          func(server *databases.Server, password string) string
	}{
		{
			"postgres", "ALTER USER " + databases.User + " PASSWORD '" + next + "'", databases.Postgres,
			func(s *databases.Server, password string) string {
				return s.PostgresSource(databases.User, password, "rotated")
			},
		},
		{
			"mariadb", "ALTER USER '" + databases.User + "'@'%' IDENTIFIED BY '" + next + "'", databases.MariaDB,
			func(s *databases.Server, password string) string {
				return s.MySQLSource(databases.User, password, "rotated")
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			server, file := c.server(t, databases.Options{}), filepath.Join(t.TempDir(), "dataSource")
			write := func(password string) {
				if err := os.WriteFile(file, []byte(c.source(server, password)), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			write(databases.Password)
			client := startKine(t, Database(DatabaseOptions{DataSourceFile: file}))
			mustPut(t, client, "/registry/a", "1", 0)
			server.Exec(c.statement)
			server.Kill()
			server.Start() // No connection is left.
			if _, err := client.Kubernetes.Get(t.Context(), "/registry/a", kubernetes.GetOptions{}); err == nil {
				t.Error("the old password is still good")
			}
			write(next)
			eventually(t, func() string {
				got, err := client.Kubernetes.Get(t.Context(), "/registry/a", kubernetes.GetOptions{})
				if err != nil || string(got.KV.Value) != "1" {
					return fmt.Sprintf("with the new password: %v, %v", got.KV, err)
				}
				return ""
			})
		})
	}
}

// TestFailover makes a server read-only, as a failover does to the one of before. A write leaves its
// connection, which would never take one again.
func TestFailover(t *testing.T) {
	t.Parallel()
	server := databases.MariaDB(t, databases.Options{})
	for _, statement := range []string{ // The user of the tests may write all the same.
		"CREATE DATABASE failover", "CREATE USER plain IDENTIFIED BY 'plain'", "GRANT ALL ON failover.* TO plain",
	} {
		server.Exec(statement)
	}
	engine, err := DatabaseOptions{DataSource: server.MySQLSource("plain", "plain", "failover")}.engine()
	if err != nil {
		t.Fatal(err)
	}
	if err := engine.prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	connector, err := mysql.NewConnector(engine.(*mysqlEngine).config)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	defer func() { _ = db.Close() }()
	db.SetMaxOpenConns(1)
	connection := func() (id int64) {
		if err := db.QueryRowContext(t.Context(), "SELECT CONNECTION_ID()").Scan(&id); err != nil {
			t.Fatal(err)
		}
		return id
	}
	before := connection()
	server.Exec("SET GLOBAL read_only = 1")
	if _, err := db.ExecContext(t.Context(), "CREATE TABLE a (id INTEGER)"); err == nil {
		t.Fatal("a server that is read-only takes a write")
	}
	server.Exec("SET GLOBAL read_only = 0")
	if after := connection(); after == before {
		t.Errorf("the store still has connection %d", after)
	}
}

// TestReplicasSeeAllWrites lists and then watches on one replica, while others write. A
// list that shows a revision without an earlier write would make the watch miss it.
func TestReplicasSeeAllWrites(t *testing.T) {
	t.Parallel()
	for name, create := range kinds() {
		if name == "sqlite" {
			continue // it has one replica
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			open, _ := create(t)
			var clients []*kubernetes.Client
			for range 3 {
				store := open()
				store.Shared = true
				clients = append(clients, startKine(t, store))
			}
			stopFirst, first := startWriters(t, clients[0], 4)
			for round := range 10 {
				eventually(t, moreThan(first, first.len()+20))
				checkListAndWatch(t, clients[1+round%2], clients[0], round)
			}
			stopFirst()
			// A write through one replica is in the next list of another.
			for i := range 20 {
				key := fmt.Sprintf("/registry/x/%d", i)
				mustPut(t, clients[i%3], key, "1", 0)
				if count, err := clients[(i+1)%3].Kubernetes.Count(t.Context(), "/registry/x/", kubernetes.CountOptions{}); err != nil || count != int64(i+1) {
					t.Fatalf("after %d writes: count %d, %v", i+1, count, err)
				}
			}
		})
	}
}

// checkListAndWatch compares a list and the watch from there with the store at the end.
func checkListAndWatch(t *testing.T, reader, writer *kubernetes.Client, round int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	list, err := reader.Kubernetes.List(ctx, "/registry/w/", kubernetes.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, kv := range list.Kvs {
		known[string(kv.Key)] = true
	}
	watch := reader.Watch(ctx, "/registry/", clientv3.WithPrefix(), clientv3.WithRev(list.Revision+1))
	last := mustPut(t, writer, fmt.Sprintf("/registry/mark/%d", round), "1", 0)
	for reached := false; !reached; {
		select {
		case response := <-watch:
			if err := response.Err(); err != nil {
				t.Fatal(err)
			}
			for _, event := range response.Events {
				known[string(event.Kv.Key)] = true
				reached = reached || event.Kv.ModRevision >= last
			}
		case <-ctx.Done():
			t.Fatal("the watch does not reach the last write")
		}
	}
	whole, err := writer.Kubernetes.List(ctx, "/registry/w/", kubernetes.ListOptions{Revision: last})
	if err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	for _, kv := range whole.Kvs {
		if !known[string(kv.Key)] {
			t.Errorf("round %d: neither list (revision %d) nor watch has %s of revision %d", round, list.Revision, kv.Key, kv.ModRevision)
		}
	}
}
