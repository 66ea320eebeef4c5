package storage

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/k3s-io/kine/pkg/query"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"

	"github.com/sublet-dev/sublet/test/databases"
)

// TestPollKeepsNoConnection makes the poll fail more often than the pool has connections, as outages do in
// the course of time. The store must answer again once the database does.
func TestPollKeepsNoConnection(t *testing.T) {
	t.Parallel()
	for name, create := range servers() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			open, _ := create(t)
			store := open()
			client := startKine(t, store)
			mustPut(t, client, "/registry/a", "1", 0)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			other := &sqlDialect{Generic: store.dialect.Generic}
			if _, err := other.DB.ExecContext(ctx, "ALTER TABLE kine RENAME TO away"); err != nil {
				t.Fatal(err)
			}
			for range 2 * (databaseSlots + extraConnections) {
				if _, err := other.PrepareAfter(ctx, 1); err == nil || ctx.Err() != nil {
					t.Fatalf("the poll of a table that is away: %v, %d connections are in use", err, other.DB.Stats().InUse)
				}
			}
			if _, err := other.DB.ExecContext(ctx, "ALTER TABLE away RENAME TO kine"); err != nil {
				t.Fatal(err)
			}
			mustPut(t, client, "/registry/b", "1", 0)
		})
	}
}

// TestPollEnds keeps a connection open whose server is gone, as proxies do. The poll must leave it.
func TestPollEnds(t *testing.T) {
	t.Parallel()
	server := databases.Postgres(t, databases.Options{})
	proxy := startProxy(t, server.Host)
	source := strings.Replace(server.PostgresSource(databases.User, databases.Password, "polled"), server.Host, proxy.address, 1)
	engine, err := DatabaseOptions{DataSource: source}.engine()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	if err := engine.prepare(ctx); err != nil {
		t.Fatal(err)
	}
	dialect, err := engine.open(ctx, &running)
	if err != nil {
		t.Fatal(err)
	}
	stmt, err := dialect.PrepareAfter(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stmt.Close() }()
	dialect.poll.timeout = 100 * time.Millisecond
	proxy.freeze()
	if err := readPoll(ctx, dialect, stmt); err == nil || ctx.Err() != nil {
		t.Errorf("the poll of a server that is gone: %v", err)
	}
}

// readPoll polls once and reads the answer to its end.
func readPoll(ctx context.Context, dialect *sqlDialect, stmt *query.Stmt) error {
	rows, err := dialect.QueryAfter(ctx, stmt, 0)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
	}
	return rows.Err()
}

// proxy passes connections on until it freezes those that are open.
type proxy struct {
	address string
	mu      sync.Mutex
	frozen  chan struct{}
}

// startProxy starts a proxy of a server.
func startProxy(t *testing.T, server string) *proxy {
	t.Helper()
	listener := listen(t, "127.0.0.1:0")
	p := &proxy{address: listener.Addr().String(), frozen: make(chan struct{})}
	var running sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(func() { cancel(); _ = listener.Close(); running.Wait() })
	running.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			backend, err := new(net.Dialer).DialContext(ctx, "tcp", server)
			if err != nil {
				_ = client.Close()
				continue
			}
			context.AfterFunc(ctx, func() { _ = client.Close(); _ = backend.Close() })
			frozen := p.current()
			running.Go(func() { pass(backend, client, frozen) })
			running.Go(func() { pass(client, backend, frozen) })
		}
	})
	return p
}

func (p *proxy) current() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.frozen
}

// freeze stops all open connections without closing them.
func (p *proxy) freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.frozen)
	p.frozen = make(chan struct{})
}

// pass copies what is sent, and discards it once the connection is frozen.
func pass(to, from net.Conn, frozen <-chan struct{}) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			break
		}
		select {
		case <-frozen:
			_, _ = io.Copy(io.Discard, from)
			return
		default:
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			break
		}
	}
	_ = to.Close()
}

// TestReadOnlyDatabaseOfPostgres makes a database read-only for new connections and takes that back. Neither
// a start nor a running store may need a restart.
func TestReadOnlyDatabaseOfPostgres(t *testing.T) {
	t.Parallel()
	server := databases.Postgres(t, databases.Options{})
	open := func() *Kine {
		return Database(DatabaseOptions{DataSource: server.PostgresSource(databases.User, databases.Password, "turned")})
	}
	first := startKine(t, open())
	mustPut(t, first, "/registry/a", "1", 0)
	server.Exec("ALTER DATABASE turned SET default_transaction_read_only = on")
	server.Exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'turned'")
	eventually(t, func() string {
		if _, err := first.Kubernetes.Get(t.Context(), "/registry/a", kubernetes.GetOptions{}); err != nil {
			return err.Error()
		}
		return ""
	})
	if got, err := first.Kubernetes.OptimisticPut(t.Context(), "/registry/b", []byte("1"), 0, kubernetes.PutOptions{}); err == nil {
		t.Fatalf("a database that is read-only takes a write: %v", got)
	}

	second, reasons, started := open(), make(chan string, 10), make(chan error, 1)
	second.Waiter.Report = func(reason string) { reasons <- reason }
	t.Cleanup(second.Stop)
	starting, end := context.WithCancel(t.Context())
	go func() {
		_, err := second.Start(t.Context())
		started <- err
		end() // No reason comes after that.
	}()
	awaitReason(starting, t, reasons, "cannot write to the PostgreSQL server "+server.Host+": it is read-only")
	select {
	case err := <-started:
		t.Fatalf("Start of a database that is read-only: %v, want it to wait", err)
	default:
	}
	server.Exec("ALTER DATABASE turned RESET default_transaction_read_only")
	if err := <-started; err != nil {
		t.Errorf("Start: %v", err)
	}
	eventually(t, func() string {
		if _, err := first.Kubernetes.OptimisticPut(t.Context(), "/registry/b", []byte("1"), 0, kubernetes.PutOptions{}); err != nil {
			return err.Error()
		}
		return ""
	})
}

// TestPollLeavesServer shows that the poll does not stay at a server that a write has left.
func TestPollLeavesServer(t *testing.T) {
	t.Parallel()
	for name, create := range servers() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			open, _ := create(t)
			store := open()
			client := startKine(t, store)
			watch := client.Watch(t.Context(), "/registry/", clientv3.WithPrefix(), clientv3.WithRev(1))
			other := &sqlDialect{Generic: store.dialect.Generic}
			stmt, err := other.PrepareAfter(t.Context(), 1)
			if err != nil {
				t.Fatal(err)
			}
			other.leaveServer()
			if err := readPoll(t.Context(), other, stmt); !errors.Is(err, errServerLeft) {
				t.Errorf("poll on the connection of before: %v, want %v", err, errServerLeft)
			}
			if err := stmt.Close(); err != nil {
				t.Logf("close of the poll of before: %v", err)
			}
			store.dialect.leaveServer()
			mustPut(t, client, "/registry/a", "1", 0)
			for response := range watch {
				if response.Err() != nil || len(response.Events) > 0 {
					break
				}
			}
		})
	}
}

// flakyEngine is a database that goes away a few times after it was prepared.
type flakyEngine struct {
	sqlEngine
	fails int
}

func (e *flakyEngine) open(ctx context.Context, running *sync.WaitGroup) (*sqlDialect, error) {
	dialect, err := e.sqlEngine.open(ctx, running)
	if e.fails--; e.fails >= 0 {
		return nil, errors.Join(err, net.ErrClosed)
	}
	return dialect, err
}

// TestStartWaitsForDatabase loses the database in the middle of a start.
func TestStartWaitsForDatabase(t *testing.T) {
	t.Parallel()
	for name, create := range servers() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			open, _ := create(t)
			store := open()
			store.engine = &flakyEngine{store.engine, 2}
			var reasons []string
			store.Waiter.Report = func(reason string) { reasons = append(reasons, reason) }
			mustPut(t, startKine(t, store), "/registry/a", "1", 0)
			if len(reasons) != 2 || !strings.Contains(reasons[0], net.ErrClosed.Error()) || reasons[1] != "" {
				t.Errorf("the start waited because of %q", reasons)
			}
		})
	}
}
