package await

import (
	"context"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
)

// Changes returns the changes of objects after a version, until the test ends. An API server ends the
// watch of a client that is late, as on a busy machine. The watch is opened again where it ended.
func Changes(t testing.TB, version string, open func(context.Context, metav1.ListOptions) (watch.Interface, error)) <-chan watch.Event {
	t.Helper()
	watcher, err := watchtools.NewRetryWatcherWithContext(t.Context(), version, &cache.ListWatch{WatchFuncWithContext: open})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		watcher.Stop()
		<-watcher.Done()
	})
	return watcher.ResultChan()
}
