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
	ended  <-chan struct{} // closed when the watch has ended
}

// sendEvent writes an object of some size at a revision.
func (f *fakeWatcher) sendEvent(revision int64, size int) {
	f.events <- clientv3.WatchResponse{Events: []*clientv3.Event{{Kv: &mvccpb.KeyValue{ModRevision: revision, Value: bytes.Repeat([]byte("x"), size)}}}}
}

// hasEnded reports whether the watch has ended.
func (f *fakeWatcher) hasEnded() bool {
	select {
	case <-f.ended:
		return true
	default:
		return false
	}
}

// Watch implements clientv3.Watcher.
func (f *fakeWatcher) Watch(ctx context.Context, _ string, _ ...clientv3.OpOption) clientv3.WatchChan {
	f.ended = ctx.Done()
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
			store.sendEvent(revision, mib/2)
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
		store.sendEvent(7, mib/2)
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
				store.sendEvent(revision+1, mib)
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
		ended := 0
		for _, w := range watches {
			if _, ok := <-w.ResultChan(); !ok {
				ended++
			}
		}
		if ended == 0 {
			t.Error("no watch has ended")
		}
	})
}

// newFullBudget returns a budget with two accounts that leave no room.
func newFullBudget(t *testing.T) (b *Budget, large, full *Account) {
	t.Helper()
	b = newBudget()
	large, full = newAccount(t, b), newAccount(t, b)
	if !large.tryAdd(20*mib) || !full.tryAdd(10*mib) {
		t.Fatal("the budget is free")
	}
	return b, large, full
}

// TestWatchWithoutMemory ends a watch that gets none.
func TestWatchWithoutMemory(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, _, _ := newFullBudget(t)
		store, _, w := startWatch(t, b, all)
		store.sendEvent(1, mib)
		begun := time.Now()
		if event, ok := <-w.ResultChan(); ok {
			t.Errorf("got %v, want the end", event)
		}
		if took := time.Since(begun); took != patience {
			t.Errorf("it took %v, want %v", took, patience)
		}
	})
}

// TestUnreadWatch writes objects that a watcher does not read. Its watch of the store ends, and it gets what was read.
func TestUnreadWatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const size, most = 16 << 10, 1000
		store, account, w := startWatch(t, NewBudget(func() int64 { return 100 * mib }), all)
		var written int64
		for ; written < most && !store.hasEnded(); written++ {
			store.sendEvent(written+1, size)
			synctest.Wait()
		}
		if !store.hasEnded() {
			t.Fatalf("the store is still watched after %d objects", written)
		}
		// fakeWatch has a buffer of 100.
		if bound := int64(maxQueued + readFactor*size*103); account.total > bound {
			t.Errorf("it takes %d bytes, want up to %d", account.total, bound)
		}
		var read int64
		for event := range w.ResultChan() {
			read++
			if got := event.Object.(*corev1.ConfigMap).ResourceVersion; got != strconv.FormatInt(read, 10) {
				t.Fatalf("event %d is that of revision %s", read, got)
			}
		}
		if read != written-1 {
			t.Errorf("read %d events of %d, want all but the last one", read, written)
		}
		if account.total != 0 {
			t.Errorf("then it takes %d bytes, want none", account.total)
		}
	})
}

// TestSlowWatch takes events slower than they come, up to some number. It gets all of them.
func TestSlowWatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const count = 300
		store, _, w := startWatch(t, newBudget(), all)
		for revision := range int64(count) {
			store.sendEvent(revision+1, 1<<10)
			synctest.Wait()
		}
		for range count {
			time.Sleep(stallTime)
			if _, ok := <-w.ResultChan(); !ok {
				t.Fatal("the watch has ended")
			}
		}
		if store.hasEnded() {
			t.Error("the store is not watched any more")
		}
	})
}

// TestEventThatWaits delivers an event that finds room after a while, and ends the watch. Later events do not wait in
// the client of the store.
func TestEventThatWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, large, full := newFullBudget(t)
		store, _, w := startWatch(t, b, all)
		store.sendEvent(1, mib)
		synctest.Wait()
		if !store.hasEnded() {
			t.Error("the store is watched while an event waits")
		}
		time.Sleep(patience / 2)
		full.Close()
		if event, ok := <-w.ResultChan(); !ok || event.Type != watch.Added {
			t.Errorf("got %v, want the event", event)
		}
		if event, ok := <-w.ResultChan(); ok {
			t.Errorf("got %v, want the end", event)
		}
		large.Close()
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
