package queues_test

import (
	"bytes"
	"runtime/pprof"
	"strings"
	"testing"

	"k8s.io/client-go/util/workqueue"
	_ "k8s.io/component-base/metrics/prometheus/workqueue" // sets its provider, as in the server

	_ "github.com/sublet-dev/sublet/pkg/controlplane/queues"
)

func TestQueuesHaveNoTimer(t *testing.T) {
	t.Parallel()
	queue := workqueue.NewTypedWithConfig(workqueue.TypedQueueConfig[string]{Name: "any"})
	defer queue.ShutDown()
	var stacks bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&stacks, 1); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(stacks.String(), "updateUnfinishedWorkLoop") {
		t.Errorf("a named queue measures its work twice a second: client-go's provider has another name, or was replaced\n%s", stacks.String())
	}
}
