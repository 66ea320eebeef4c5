package requestmemory

import (
	"bytes"
	"context"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage"
)

// fakeWatcher is the store of a watch.
type fakeWatcher struct {
	clientv3.Watcher
	events chan clientv3.WatchResponse
}

// put writes an object of some size at a revision.
func (f *fakeWatcher) put(revision int64, size int) {
	f.events <- clientv3.WatchResponse{Events: []*clientv3.Event{{Kv: &mvccpb.KeyValue{ModRevision: revision, Value: bytes.Repeat([]byte("x"), size)}}}}
}

// Watch implements clientv3.Watcher.
func (f *fakeWatcher) Watch(context.Context, string, ...clientv3.OpOption) clientv3.WatchChan {
	return f.events
}

// fakeStorage watches a store. Like upstream's storage, it has a buffer of events.
type fakeStorage struct {
	storage.Interface
	store *fakeWatcher
	// matches reports whether an object of a revision matches.
	matches func(revision int64) bool
}

// fakeWatch is a watch of fakeStorage.
type fakeWatch struct {
	result chan watch.Event
	stop   func()
}

// ResultChan implements watch.Interface.
func (f *fakeWatch) ResultChan() <-chan watch.Event { return f.result }

// Stop implements watch.Interface.
func (f *fakeWatch) Stop() { f.stop() }

// Watch implements storage.Interface.
func (f fakeStorage) Watch(ctx context.Context, _ string, _ storage.ListOptions) (watch.Interface, error) {
	ctx, stop := context.WithCancel(ctx)
	w := &fakeWatch{result: make(chan watch.Event, 100), stop: stop}
	events := Watcher(f.store).Watch(ctx, "/a/")
	go func() {
		defer close(w.result)
		for response := range events {
			if ctx.Err() != nil {
				return
			}
			for _, e := range response.Events {
				if f.matches(e.Kv.ModRevision) {
					object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{ResourceVersion: strconv.FormatInt(e.Kv.ModRevision, 10)}}
					w.result <- watch.Event{Type: watch.Added, Object: object}
				}
			}
		}
	}()
	return w, nil
}

// startWatch begins a watch with an account.
func startWatch(t *testing.T, b *Budget, matches func(int64) bool) (*fakeWatcher, *Account, watch.Interface) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	store, account := &fakeWatcher{events: make(chan clientv3.WatchResponse, 100)}, newAccount(t, b)
	w, err := Storage(fakeStorage{store: store, matches: matches}).Watch(WithWatchAccount(ctx, account), "/a/", storage.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		close(store.events)
		w.Stop()
		account.Close()
	})
	return store, account, w
}

// all matches all objects.
func all(int64) bool { return true }

// TestWatchedEvents counts events until the watcher has got them.
func TestWatchedEvents(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store, account, w := startWatch(t, newBudget(), func(revision int64) bool { return revision%2 == 0 })
		for revision := range int64(7) {
			store.put(revision, mib/2)
		}
		synctest.Wait()
		if account.total != 7*mib {
			t.Errorf("before a read: %d bytes, want %d", account.total, 7*mib)
		}
		<-w.ResultChan()
		<-w.ResultChan()
		synctest.Wait()
		if account.total != 4*mib {
			t.Errorf("after that of revision 2: %d bytes, want %d", account.total, 4*mib)
		}
		<-w.ResultChan()
		<-w.ResultChan()
		store.put(7, mib/2)
		time.Sleep(idleTime)
		synctest.Wait()
		if account.total != 0 {
			t.Errorf("after some quiet time: %d bytes, want none", account.total)
		}
	})
}

// TestStalledWatches lets watchers stop to read. They are ended when another request needs the memory.
func TestStalledWatches(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBudget()
		var watches []watch.Interface
		for range 2 { // The first one exceeds the budget.
			store, _, w := startWatch(t, b, all)
			for revision := range int64(6) {
				store.put(revision+1, mib)
			}
			watches = append(watches, w)
			synctest.Wait()
		}
		time.Sleep(time.Minute)
		reader := newAccount(t, b)
		if err := reader.add(t.Context(), 9*mib); err != nil {
			t.Errorf("the next request: %v", err)
		}
		reader.Close()
		if _, ok := <-watches[0].ResultChan(); ok {
			t.Error("the first watch has not ended")
		}
	})
}

// TestWatchWithoutMemory ends a watch that gets none.
func TestWatchWithoutMemory(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBudget()
		large, full := newAccount(t, b), newAccount(t, b)
		if !large.tryAdd(20*mib) || !full.tryAdd(10*mib) {
			t.Fatal("the budget is free")
		}
		store, _, w := startWatch(t, b, all)
		store.put(1, mib)
		begun := time.Now()
		if event, ok := <-w.ResultChan(); ok {
			t.Errorf("got %v, want the end", event)
		}
		if took := time.Since(begun); took != patience {
			t.Errorf("it took %v, want %v", took, patience)
		}
	})
}

// TestFirstEvents reads the objects that exist when a watch begins, in pages that are no larger than memory allows.
func TestFirstEvents(t *testing.T) {
	t.Parallel()
	account := newAccount(t, newBudget())
	defer account.Close()
	ctx := WithWatchAccount(t.Context(), account)
	store := &fakeStore{sizes: make([]int, 100)}
	for i := range store.sizes {
		store.sizes[i] = 64 << 10
	}
	response, err := Store(store).Get(ctx, "/a/", prefix(clientv3.WithLimit(10000))...)
	if err != nil || len(response.Kvs) != firstPage || !response.More {
		t.Fatalf("got %d objects, more: %t, %v", len(response.Kvs), response.More, err)
	}
	account.stream.pop(int64(firstPage / 2))
	if want := int64(readFactor * firstPage / 2 * 64 << 10); account.total != want {
		t.Errorf("after half of the page: %d, want %d", account.total, want)
	}
}
