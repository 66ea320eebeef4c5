package controlplane

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/pkg/controlplane/loopback"
)

// countedWrites counts the writes that reach a store.
type countedWrites struct {
	kubernetes.Interface
	count int
}

func (c *countedWrites) OptimisticPut(context.Context, string, []byte, int64, kubernetes.PutOptions) (kubernetes.PutResponse, error) {
	c.count++
	return kubernetes.PutResponse{}, nil
}

// TestWriteLimit writes one value after the other until one is denied.
func TestWriteLimit(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	for name, tc := range map[string]struct {
		reason string
		limit  WriteLimit
		size   int
		want   int // writes before the first one that is denied, 1000 for none
		last   time.Duration
	}{
		"None":     {"0 is no limit.", WriteLimit{}, mib, 1000, 0},
		"Burst":    {"After a pause the burst passes at once, and what has its turn within a second is delayed.", WriteLimit{mib, 4 * mib}, mib / 2, 1000, 496 * time.Second},
		"Large":    {"A value larger than the burst passes when the burst is there. The next one is too far away.", WriteLimit{mib, 2 * mib}, 3 * mib, 1, 0},
		"Small":    {"A small value counts as a page.", WriteLimit{2 * smallestWrite, 8 * smallestWrite}, 10, 1000, 496 * time.Second},
		"NoBurst":  {"Without a burst it is what one second has.", WriteLimit{BytesPerSecond: mib}, mib / 2, 1000, 499 * time.Second},
		"FarAhead": {"What takes more than a second of the rate is denied after the burst.", WriteLimit{mib, 4 * mib}, 3 * mib, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				store := &countedWrites{}
				limited, begun := tc.limit.wrap(store, clock.RealClock{}), time.Now()
				var err error
				for range 1000 {
					if _, err = limited.OptimisticPut(t.Context(), "key", make([]byte, tc.size), 0, kubernetes.PutOptions{}); err != nil {
						break
					}
				}
				if store.count != tc.want || (tc.want == 1000) != (err == nil) {
					t.Errorf("%s: %d writes passed, then %v; want %d", tc.reason, store.count, err, tc.want)
				}
				if took := time.Since(begun).Round(time.Second); took != tc.last {
					t.Errorf("%s: they took %v, want %v", tc.reason, took, tc.last)
				}
			})
		})
	}
}

// TestOwnWrites writes through a client after the API server has wrapped it. Only the API server's writes have a limit.
func TestOwnWrites(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &countedWrites{}
		client := &kubernetes.Client{Client: clientv3.NewCtxClient(t.Context()), Kubernetes: store}
		shared := newSharedStore(client, nil, WriteLimit{BytesPerSecond: smallestWrite, Burst: smallestWrite}, clock.RealClock{})
		write := func(to kubernetes.Interface) error {
			_, err := to.OptimisticPut(t.Context(), "key", make([]byte, 3*smallestWrite), 7, kubernetes.PutOptions{})
			return err
		}
		var group sync.WaitGroup
		var denied atomic.Int64
		for range 10 {
			group.Go(func() {
				if apierrors.IsTooManyRequests(write(shared.client.Kubernetes)) {
					denied.Add(1)
				}
			})
		}
		synctest.Wait()
		for range 10 {
			if err := write(client.Kubernetes); err != nil {
				t.Errorf("a write of the control plane itself: %v", err)
			}
		}
		group.Wait()
		if denied.Load() != 8 {
			t.Errorf("%d writes of a tenant were denied, want all but one at once and one after a second", denied.Load())
		}
	})
}

// callAs calls do with the context of a request from a part of the process.
func callAs(t *testing.T, caller loopback.Caller, do func(context.Context) error) (err error) {
	t.Helper()
	server := loopback.NewServer()
	server.Open(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) { err = do(req.Context()) }))
	client := &http.Client{Transport: server.Transport(caller)}
	request, requestErr := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://loopback/", http.NoBody)
	if requestErr != nil {
		t.Fatal(requestErr)
	}
	response, requestErr := client.Do(request)
	if requestErr != nil {
		t.Fatal(requestErr)
	}
	_ = response.Body.Close()
	return err
}

// TestWriteLimitDenial shows who is denied, and what the client reads.
func TestWriteLimitDenial(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &countedWrites{}
		limited := WriteLimit{BytesPerSecond: 8 << 20, Burst: 8 << 20}.wrap(store, clock.RealClock{})
		write := func(ctx context.Context) error {
			_, err := limited.OptimisticPut(ctx, "key", make([]byte, 8<<20+1), 0, kubernetes.PutOptions{})
			return err
		}
		if err := write(t.Context()); err != nil {
			t.Fatalf("the first write: %v", err)
		}
		waits, cancel := context.WithCancel(t.Context())
		cancel()
		if err := write(waits); err == nil {
			t.Error("a write whose client has gone is not made")
		}
		err := write(t.Context())
		want := "the clients of this cluster write more than 8Mi bytes a second. Try again, or ask the operator of the host to raise policies.writes.bytesPerSecond"
		if err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
		if status, ok := err.(apierrors.APIStatus); !ok || status.Status().Code != http.StatusTooManyRequests {
			t.Errorf("got %#v, want code 429", err)
		}
		if delay, ok := apierrors.SuggestsClientDelay(err); !ok || delay != 1 {
			t.Errorf("the client is told to wait %d s, want 1", delay)
		}
		if err := callAs(t, loopback.Caller{User: &user.DefaultInfo{Name: "controller"}}, write); err != nil {
			t.Errorf("a write of our own part: %v", err)
		}
	})
}
