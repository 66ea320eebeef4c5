package queues

import (
	"testing"

	"k8s.io/client-go/util/workqueue"
)

func TestKeepProviderWithoutProvider(t *testing.T) {
	t.Parallel()
	if keepProvider(nil) {
		t.Error("nil became the provider")
	}
	queue := workqueue.NewTypedWithConfig(workqueue.TypedQueueConfig[string]{Name: "other"})
	queue.Add("key")
	queue.ShutDown()
}
