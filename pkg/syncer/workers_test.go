package syncer

import (
	"testing"
	"testing/synctest"

	"k8s.io/client-go/util/workqueue"
)

// TestWorkersStartWithKeys holds that one worker waits while there is no key, and that no more than the limit
// work at the same time.
func TestWorkersStartWithKeys(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const limit, keys = 3, 9
		queue := workqueue.NewTyped[int]()
		w := workers{limit: limit}
		entered, leave := make(chan int), make(chan struct{})
		var work func()
		work = func() {
			for {
				key, shutdown := queue.Get()
				if shutdown {
					return
				}
				w.takeKey(work)
				entered <- key
				<-leave
				queue.Done(key)
				if !w.awaitKey() {
					return
				}
			}
		}
		w.start(work)
		for key := range keys {
			queue.Add(key)
		}
		for range limit {
			<-entered
		}
		synctest.Wait()
		select {
		case <-entered:
			t.Error("More workers than the limit")
		default:
		}
		for range keys - limit {
			leave <- struct{}{}
			<-entered
		}
		for range limit {
			leave <- struct{}{}
		}
		synctest.Wait()
		if got := w.count(); got != 1 {
			t.Errorf("%d workers wait for keys", got)
		}
		queue.ShutDown()
		w.group.Wait()
	})
}

// count returns how many workers run.
func (w *workers) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.running
}
