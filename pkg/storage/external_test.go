package storage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/sublet-dev/sublet/test/etcd"
	"github.com/sublet-dev/sublet/test/ports"
)

// startExternal opens the store of one virtual cluster on a server.
func startExternal(t *testing.T, s *etcd.Server, prefix string, options ...func(*External)) (*External, *kubernetes.Client) {
	t.Helper()
	x := &External{Endpoints: []string{s.Endpoint()}, Prefix: prefix}
	for _, option := range options {
		option(x)
	}
	t.Cleanup(x.Stop)
	client, err := x.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return x, client
}

func createKey(t *testing.T, client *kubernetes.Client, key string) {
	t.Helper()
	got, err := client.Kubernetes.OptimisticPut(t.Context(), key, []byte("1"), 0, kubernetes.PutOptions{})
	if err != nil || !got.Succeeded {
		t.Fatalf("create %s: %v", key, err)
	}
}

func keys(t *testing.T, kv clientv3.KV, prefix string) []string {
	t.Helper()
	response, err := kv.Get(t.Context(), prefix, clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, kv := range response.Kvs {
		found = append(found, string(kv.Key))
	}
	return found
}

// TestTwoOnOneEtcd opens stores with prefixes that are parts of each other.
func TestTwoOnOneEtcd(t *testing.T) {
	t.Parallel()
	s := etcd.Start(t, etcd.Options{})
	_, outer := startExternal(t, s, "/shop/")
	_, inner := startExternal(t, s, "/shop/registry/")
	_, other := startExternal(t, s, "/shop2/")
	watching := outer.Watch(t.Context(), "/", clientv3.WithPrefix())
	for name, client := range map[string]*kubernetes.Client{"outer": outer, "inner": inner, "other": other} {
		createKey(t, client, "/registry/pods/"+name)
	}
	for name, client := range map[string]*kubernetes.Client{"outer": outer, "inner": inner, "other": other} {
		if got, want := keys(t, client.KV, "/"), []string{"/registry/pods/" + name}; !slices.Equal(got, want) {
			t.Errorf("%s sees %q, want %q", name, got, want)
		}
	}
	response := <-watching
	if len(response.Events) != 1 || string(response.Events[0].Kv.Key) != "/registry/pods/outer" {
		t.Errorf("the watch got %+v", response.Events)
	}
}

// TestDialExternal uses the connection for libraries, which must see the prefix too.
func TestDialExternal(t *testing.T) {
	t.Parallel()
	s := etcd.Start(t, etcd.Options{})
	x, client := startExternal(t, s, "/shop/")
	dialed := dialled(t, x)
	lease, err := dialed.Grant(t.Context(), 60)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dialed.Put(t.Context(), "/registry/masterleases/a", "1", clientv3.WithLease(lease.ID)); err != nil {
		t.Fatal(err)
	}
	if got := keys(t, client.KV, "/"); !slices.Equal(got, []string{"/registry/masterleases/a"}) {
		t.Errorf("the shared client sees %q", got)
	}
	if _, err := dialed.Status(t.Context(), "http://store.memory"); err != nil {
		t.Errorf("Status: %v", err)
	}
}

// TestStoreGoesAway stops the etcd and starts it again. The same client works on.
func TestStoreGoesAway(t *testing.T) {
	t.Parallel()
	s := etcd.Start(t, etcd.Options{})
	fake := clocktesting.NewFakeClock(time.Now())
	x, client := startExternal(t, s, "/shop/", func(x *External) { x.Clock = fake })
	got, err := client.Put(t.Context(), "/registry/a", "1")
	if err != nil {
		t.Fatal(err)
	}
	watching := client.Watch(t.Context(), "/registry/", clientv3.WithPrefix(), clientv3.WithRev(got.Header.Revision+1))
	s.Stop()
	eventually(t, func() string {
		fake.Step(monitorPeriod)
		if checks := x.checks(); checks[0].Healthy {
			return "the store is away and its check is healthy"
		}
		return ""
	})
	select {
	case <-x.Failed():
		t.Error("a store outside of the process must not end it")
	default:
	}
	s.Resume(t)
	eventually(t, func() string {
		fake.Step(monitorPeriod)
		if checks := x.checks(); !checks[0].Healthy {
			return fmt.Sprintf("the store is back and the check is %+v", checks[0])
		}
		return ""
	})
	createKey(t, client, "/registry/b")
	if response := <-watching; len(response.Events) != 1 || string(response.Events[0].Kv.Key) != "/registry/b" {
		t.Errorf("the watch got %+v, want the write after the outage", response)
	}
}

// TestStartWaits starts while the etcd is away.
func TestStartWaits(t *testing.T) {
	t.Parallel()
	s := etcd.Start(t, etcd.Options{})
	s.Stop()
	var mu sync.Mutex
	var reasons []string
	waits := make(chan struct{}, 1)
	x := &External{Endpoints: []string{s.Endpoint()}, Prefix: "/shop/", Waiter: Waiter{Report: func(reason string) {
		mu.Lock()
		defer mu.Unlock()
		reasons = append(reasons, reason)
		select {
		case waits <- struct{}{}:
		default:
		}
	}}}
	t.Cleanup(x.Stop)
	done := make(chan error, 1)
	go func() {
		_, err := x.Start(t.Context())
		done <- err
	}()
	<-waits
	s.Resume(t)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(reasons) < 2 || reasons[0] == "" || reasons[len(reasons)-1] != "" {
		t.Errorf("reported %q, want a reason and its end", reasons)
	}
}

// TestOneMemberIsAway opens a store of which one endpoint does not answer.
func TestOneMemberIsAway(t *testing.T) {
	t.Parallel()
	s := etcd.Start(t, etcd.Options{})
	_, client := startExternal(t, s, "/shop/", func(x *External) {
		x.Endpoints = []string{"http://" + ports.Free(t, "127.0.0.1"), s.Endpoint()}
	})
	for i := range 10 {
		createKey(t, client, fmt.Sprintf("/registry/%d", i))
	}
}

// TestStopEndsTheWait ends a process whose store never comes.
func TestStopEndsTheWait(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	x := &External{Endpoints: []string{"http://" + ports.Free(t, "127.0.0.1")}, Prefix: "/shop/", Waiter: Waiter{Report: func(string) { cancel() }}}
	if _, err := x.Start(ctx); err == nil {
		t.Error("a store that is away was opened")
	}
	x.Stop()
}

// TestFullExternal denies creates where the quota of the etcd is known.
func TestFullExternal(t *testing.T) {
	t.Parallel()
	s := etcd.Start(t, etcd.Options{Quota: 16 * mib})
	fake := clocktesting.NewFakeClock(time.Now())
	x, client := startExternal(t, s, "/shop/", func(x *External) { x.Clock = fake })
	if got := x.usage().Quota; got != 16*mib {
		t.Errorf("the quota is %d", got)
	}
	value := make([]byte, mib)
	var full *FullError
	for i := 0; full == nil; i++ {
		if i > 100 {
			t.Fatal("100 MiB fit into 16 MiB")
		}
		_, err := client.Kubernetes.OptimisticPut(t.Context(), fmt.Sprintf("/registry/%d", i), value, 0, kubernetes.PutOptions{})
		if err != nil && !errors.As(err, &full) {
			t.Fatalf("got %v, want a *FullError", err)
		}
		fake.Step(monitorPeriod)
	}
}

// TestRenewedCertificates replaces all certificates while the store is in use.
func TestRenewedCertificates(t *testing.T) {
	t.Parallel()
	ca := newSigner(t)
	cert, key := ca.leaf(t, "server", nil)
	ca.leaf(t, "tls", nil)
	s := etcd.Start(t, withTLS(cert, key, ca.caFile()))
	_, client := startExternal(t, s, "/shop/", func(x *External) { x.TLS.Dir = ca.dir })
	createKey(t, client, "/registry/a")
	s.Stop()
	next := newSigner(t)
	next.dir = ca.dir
	next.trust(t, next.pair.Cert)
	next.leaf(t, "server", nil)
	next.leaf(t, "tls", nil)
	s.Resume(t)
	eventually(t, func() string {
		if _, err := client.Put(t.Context(), "/registry/b", "1"); err != nil {
			return err.Error()
		}
		return ""
	})
}

// TestUserOfEtcd opens a store as a user who may use the prefix only. All that a virtual
// cluster does must work, and other keys must be out of reach.
func TestUserOfEtcd(t *testing.T) {
	t.Parallel()
	x := authStore(t, "shop", true)
	t.Cleanup(x.Stop)
	client, err := x.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	createKey(t, client, "/registry/a")
	lease, err := client.Grant(t.Context(), 60)
	if err != nil {
		t.Fatal(err)
	}
	got, err := client.Put(t.Context(), "/registry/b", "1", clientv3.WithLease(lease.ID))
	if err != nil {
		t.Fatal(err)
	}
	if response := <-client.Watch(t.Context(), "/registry/", clientv3.WithPrefix(), clientv3.WithRev(got.Header.Revision)); len(response.Events) != 1 {
		t.Errorf("the watch got %+v", response)
	}
	eventually(t, func() string { // The monitor does not wait long.
		if _, err := x.askStatus(t.Context()); err != nil {
			return fmt.Sprintf("the monitor: %v", err)
		}
		return ""
	})
	if _, err := client.Compact(t.Context(), got.Header.Revision); err != nil {
		t.Errorf("the compactor: %v", err)
	}
	x.Prefix = "/games/"
	if _, err := x.probe(t.Context()); err == nil {
		t.Error("the user reads below another prefix")
	}
}
