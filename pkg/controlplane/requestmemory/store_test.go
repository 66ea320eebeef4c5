package requestmemory

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"
)

// fakeStore has objects under /a/0000, /a/0001 and so on. It moves on by one revision with each read.
type fakeStore struct {
	clientv3.KV
	sizes []int
	// limits and revisions are those of the reads.
	limits, revisions []int64
}

func keyOf(i int) string { return fmt.Sprintf("/a/%04d", i) }

// Get reads keys.
func (s *fakeStore) Get(_ context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	op := clientv3.OpGet(key, opts...)
	s.limits, s.revisions = append(s.limits, op.Limit()), append(s.revisions, op.Rev())
	response := &clientv3.GetResponse{Header: &etcdserverpb.ResponseHeader{Revision: int64(100 + len(s.limits))}}
	for i, size := range s.sizes {
		current := keyOf(i)
		if current < key || len(op.RangeBytes()) == 0 && current != key || len(op.RangeBytes()) > 0 && current >= string(op.RangeBytes()) {
			continue
		}
		response.Count++
		if op.Limit() > 0 && int64(len(response.Kvs)) == op.Limit() {
			response.More = true
			continue
		}
		response.Kvs = append(response.Kvs, &mvccpb.KeyValue{Key: []byte(current), Value: bytes.Repeat([]byte("x"), size), ModRevision: int64(i + 1)})
	}
	return response, nil
}

// prefix returns the options that read all objects.
func prefix(opts ...clientv3.OpOption) []clientv3.OpOption {
	return append([]clientv3.OpOption{clientv3.WithRange(clientv3.GetPrefixRangeEnd("/a/"))}, opts...)
}

// TestPages reads lists: each is that of a single read, but comes in pages.
func TestPages(t *testing.T) {
	t.Parallel()
	small, large := slices.Repeat([]int{10}, 700), slices.Repeat([]int{256 << 10}, 70)
	for name, tc := range map[string]struct {
		sizes     []int
		start     string
		opts      []clientv3.OpOption
		limits    []int64
		revisions []int64
	}{
		"Small":     {sizes: small, limits: []int64{32, 128, 256, 256, 256}, revisions: []int64{0, 101, 101, 101, 101}},
		"Large":     {sizes: large, limits: []int64{32, 32, 32}, revisions: []int64{0, 101, 101}},
		"Limit":     {sizes: small, opts: []clientv3.OpOption{clientv3.WithLimit(100)}, limits: []int64{32, 68}, revisions: []int64{0, 101}},
		"LimitOfs":  {sizes: small, start: keyOf(50), opts: []clientv3.OpOption{clientv3.WithLimit(32)}, limits: []int64{32}, revisions: []int64{0}},
		"LimitMore": {sizes: small[:50], opts: []clientv3.OpOption{clientv3.WithLimit(5000)}, limits: []int64{32, 128}, revisions: []int64{0, 101}},
		"Revision":  {sizes: small[:50], opts: []clientv3.OpOption{clientv3.WithRev(7)}, limits: []int64{32, 128}, revisions: []int64{7, 7}},
		"Empty":     {limits: []int64{32}, revisions: []int64{0}},
		"Count":     {sizes: small, opts: []clientv3.OpOption{clientv3.WithCountOnly()}, limits: []int64{0}, revisions: []int64{0}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			account := newAccount(t, newBudget())
			defer account.Close()
			if tc.start == "" {
				tc.start = "/a/"
			}
			store := &fakeStore{sizes: tc.sizes}
			got, err := Store(store).Get(WithAccount(t.Context(), account), tc.start, prefix(tc.opts...)...)
			if err != nil {
				t.Fatal(err)
			}
			want, err := (&fakeStore{sizes: tc.sizes}).Get(t.Context(), tc.start, prefix(tc.opts...)...)
			if err != nil {
				t.Fatal(err)
			}
			if !proto.Equal((*etcdserverpb.RangeResponse)(got), (*etcdserverpb.RangeResponse)(want)) {
				t.Errorf("got %d of %d objects, more: %t, at %v; want %d of %d, %t, at %v",
					len(got.Kvs), got.Count, got.More, got.Header, len(want.Kvs), want.Count, want.More, want.Header)
			}
			if !slices.Equal(store.limits, tc.limits) || !slices.Equal(store.revisions, tc.revisions) {
				t.Errorf("pages of %v at %v, want %v at %v", store.limits, store.revisions, tc.limits, tc.revisions)
			}
			if name != "Count" && account.total != weigh(want.Kvs) {
				t.Errorf("the account has %d, want %d", account.total, weigh(want.Kvs))
			}
		})
	}
}

// TestWithoutAccount reads a list for a part of the process.
func TestWithoutAccount(t *testing.T) {
	t.Parallel()
	store := &fakeStore{sizes: make([]int, 100)}
	if _, err := Store(store).Get(t.Context(), "/a/", prefix()...); err != nil || len(store.limits) != 1 {
		t.Errorf("%d reads, %v", len(store.limits), err)
	}
}

// TestWaitingRead reads a list for which there is no memory, until another request ends.
func TestWaitingRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBudget()
		large, full, account := newAccount(t, b), newAccount(t, b), newAccount(t, b)
		if !large.tryAdd(20*mib) || !full.tryAdd(10*mib) {
			t.Fatal("the budget is free")
		}
		store := &fakeStore{sizes: slices.Repeat([]int{mib}, 3)}
		result := make(chan int, 1)
		go func() {
			response, err := Store(store).Get(WithAccount(t.Context(), account), "/a/", prefix()...)
			if err != nil {
				t.Error(err)
			}
			result <- len(response.Kvs)
		}()
		synctest.Wait()
		if len(store.limits) != 1 || !b.fetching.TryAcquire(maxFetchedKeys) {
			t.Errorf("after %d reads it waits without a value in memory", len(store.limits))
		}
		b.fetching.Release(maxFetchedKeys)
		full.Close()
		if got := <-result; got != 3 || account.total != 6*mib {
			t.Errorf("got %d objects of %d bytes, want 3 of %d", got, account.total, 6*mib)
		}
		account.Close()
		large.Close()
		if b.used != 0 {
			t.Errorf("%d bytes are left", b.used)
		}
	})
}

// TestSingleReads reads single objects. The largest counts, because the request keeps one at a time.
func TestSingleReads(t *testing.T) {
	t.Parallel()
	account := newAccount(t, newBudget())
	defer account.Close()
	store := Store(&fakeStore{sizes: []int{mib, 2 * mib, 100}})
	for i := range 6 {
		if _, err := store.Get(WithAccount(t.Context(), account), keyOf(i%3)); err != nil {
			t.Fatal(err)
		}
	}
	if want := int64(2 * 2 * mib); account.total != want {
		t.Errorf("the account has %d, want %d", account.total, want)
	}
}

// TestWeight weighs what the store has.
func TestWeight(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]int64{"": 0, "k8s\x00abcdef": 20, `{"a": "bc"}`: 88} {
		if got := weigh([]*mvccpb.KeyValue{{Value: []byte(value)}, nil}); got != want {
			t.Errorf("%q counts as %d, want %d", value, got, want)
		}
	}
}
