package storage

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

func started(t *testing.T, dir string) *Etcd {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	e := Embedded(dir)
	if err := e.Start(ctx); err != nil {
		t.Fatalf("Start: %v", err)
	}
	t.Cleanup(e.Stop)
	return e
}

func TestDataOutlivesTheServer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()

	first := started(t, dir)
	put, err := first.Client().Put(t.Context(), "/registry/a", "1")
	if err != nil {
		t.Fatalf("Put: %v", err)
	}
	first.Stop()

	second := started(t, dir)
	got, err := second.Client().KV.Get(t.Context(), "/registry/a")
	if err != nil {
		t.Fatalf("Get: %v", err)
	}
	if len(got.Kvs) != 1 || string(got.Kvs[0].Value) != "1" {
		t.Errorf("after a restart: got %v, want the value that was written", got.Kvs)
	}
	if got.Header.Revision < put.Header.Revision {
		t.Errorf("after a restart: revision %d is older than %d", got.Header.Revision, put.Header.Revision)
	}
}

func TestKubernetesClient(t *testing.T) {
	t.Parallel()
	e := started(t, t.TempDir())
	c := e.Client()

	watch := c.Watch(t.Context(), "/registry/", clientv3.WithPrefix())
	if _, err := c.Put(t.Context(), "/registry/pods/a", "x"); err != nil {
		t.Fatalf("Put: %v", err)
	}
	event := <-watch
	if len(event.Events) != 1 || string(event.Events[0].Kv.Key) != "/registry/pods/a" {
		t.Errorf("Watch: got %v, want one event for /registry/pods/a", event.Events)
	}
	count, err := c.Kubernetes.Count(t.Context(), "/registry/pods/", kubernetes.CountOptions{})
	if err != nil || count != 1 {
		t.Errorf("Count: got %d, %v, want 1", count, err)
	}
}

func TestDialReachesTheSameStore(t *testing.T) {
	t.Parallel()
	e := started(t, t.TempDir())
	if _, err := e.Client().Put(t.Context(), "/registry/a", "1"); err != nil {
		t.Fatalf("Put: %v", err)
	}
	c, err := clientv3.New(clientv3.Config{
		Endpoints: []string{"http://memory"},
		DialOptions: []grpc.DialOption{
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return e.Dial(ctx) }),
		},
	})
	if err != nil {
		t.Fatalf("clientv3.New: %v", err)
	}
	defer func() { _ = c.Close() }()
	got, err := c.Get(t.Context(), "/registry/a")
	if err != nil || len(got.Kvs) != 1 {
		t.Errorf("Get over Dial: got %v, %v, want one key", got, err)
	}
}

func TestLockedDirectoryIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := started(t, dir)

	second := Embedded(dir)
	defer second.Stop()
	err := second.Start(t.Context())
	if !errors.Is(err, ErrLocked) {
		t.Fatalf("Start on a directory in use: got %v, want %v", err, ErrLocked)
	}
	if !strings.Contains(err.Error(), dir) {
		t.Errorf("the error %q does not name the directory", err)
	}
	first.Stop()

	third := Embedded(dir)
	if err := third.Start(t.Context()); err != nil {
		t.Errorf("Start after the other has stopped: %v", err)
	}
	third.Stop()
}

func TestStopIsQuickAndIdempotent(t *testing.T) {
	t.Parallel()
	e := started(t, t.TempDir())
	begin := time.Now()
	e.Stop()
	e.Stop()
	if took := time.Since(begin); took > 3*time.Second {
		t.Errorf("Stop took %s", took)
	}
	select {
	case <-e.Failed():
		t.Error("Failed is closed after a Stop that was asked for")
	default:
	}
}

func TestQuotaRefusesWrites(t *testing.T) {
	t.Parallel()
	e := Embedded(t.TempDir())
	e.Quota = 64 << 10
	e.NoSync = true
	if err := e.Start(t.Context()); err != nil {
		t.Fatalf("Start: %v", err)
	}
	defer e.Stop()
	// The size counts once it has been committed, which happens ten times a
	// second.
	value := strings.Repeat("x", 32<<10)
	for begin := time.Now(); time.Since(begin) < 10*time.Second; {
		if _, err := e.Client().Put(t.Context(), "/registry/same", value); err != nil {
			return
		}
	}
	t.Error("ten seconds of writes of 32 KiB fit into a quota of 64 KiB")
}
