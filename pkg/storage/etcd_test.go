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

// patience bounds every wait of the tests.
const patience = 3 * time.Minute

// startEtcd starts a store in dir and stops it at the end of the test.
func startEtcd(t *testing.T, dir string, options ...func(*Etcd)) (*Etcd, *kubernetes.Client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	e := Embedded(dir)
	e.NoSync, e.Logger = true, fatalOnly(t)
	for _, option := range options {
		option(e)
	}
	client, err := e.Start(ctx)
	if err != nil {
		t.Fatalf("Start: %v", err)
	}
	t.Cleanup(e.Stop)
	return e, client
}

// eventually calls check until it returns "", and fails with its last answer.
func eventually(t *testing.T, check func() (problem string)) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		problem := check()
		if problem == "" {
			return
		}
		select {
		case <-deadline.C:
			t.Fatal(problem)
		case <-ticker.C:
		}
	}
}

func TestDataOutlivesTheServer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()

	first, client := startEtcd(t, dir, func(e *Etcd) { e.NoSync = false })
	put, err := client.Put(t.Context(), "/registry/a", "1")
	if err != nil {
		t.Fatalf("Put: %v", err)
	}
	first.Stop()

	_, client = startEtcd(t, dir)
	got, err := client.KV.Get(t.Context(), "/registry/a")
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
	_, c := startEtcd(t, t.TempDir())

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

// dialled returns a client that reaches the store over Dial.
func dialled(t *testing.T, e Backend) *clientv3.Client {
	t.Helper()
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
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestDialReachesTheSameStore(t *testing.T) {
	t.Parallel()
	e, client := startEtcd(t, t.TempDir())
	if _, err := client.Put(t.Context(), "/registry/a", "1"); err != nil {
		t.Fatalf("Put: %v", err)
	}
	got, err := dialled(t, e).Get(t.Context(), "/registry/a")
	if err != nil || len(got.Kvs) != 1 {
		t.Errorf("Get over Dial: got %v, %v, want one key", got, err)
	}
}

func TestLockedDirectoryIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, _ := startEtcd(t, dir)

	second := Embedded(dir)
	defer second.Stop()
	_, err := second.Start(t.Context())
	if !errors.Is(err, ErrLocked) {
		t.Fatalf("Start on a directory in use: got %v, want %v", err, ErrLocked)
	}
	if !strings.Contains(err.Error(), dir) {
		t.Errorf("the error %q does not name the directory", err)
	}
	first.Stop()
	startEtcd(t, dir)
}

func TestStopIsQuickAndIdempotent(t *testing.T) {
	t.Parallel()
	e, _ := startEtcd(t, t.TempDir())
	begin := time.Now()
	e.Stop()
	e.Stop()
	if took := time.Since(begin); took > time.Minute {
		t.Errorf("Stop took %s", took)
	}
	select {
	case <-e.Failed():
		t.Error("Failed is closed after a Stop that was asked for")
	default:
	}
}

// TestStartDoesNotWaitForTicks shows that a lone member elects itself at once. Raft
// would wait for its slow clock.
func TestStartDoesNotWaitForTicks(t *testing.T) {
	t.Parallel()
	for reason, writes := range map[string]int{"a new store": 0, "a store whose log has no change of the membership": 3 * snapshotEvery} {
		t.Log(reason)
		dir := t.TempDir()
		if writes > 0 {
			first, client := startEtcd(t, dir)
			writeKeys(t, client, writes)
			first.Stop()
		}
		e, _ := startEtcd(t, dir, noElections) // By raft's clock it would take an hour.
		e.Stop()
	}
}

// TestRestartAtAnyLengthOfTheLog kills a store with ever more entries in its log. At
// some lengths, the next start takes a snapshot while it applies them.
func TestRestartAtAnyLengthOfTheLog(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for range 30 {
		e, client := startEtcd(t, dir)
		for i := range 150 {
			if _, err := client.KV.Put(t.Context(), "/registry/some/key", strings.Repeat("x", i)); err != nil {
				t.Fatal(err)
			}
		}
		e.server.HardStop() // It takes no snapshot, as after kill -9.
		e.Stop()
	}
}
