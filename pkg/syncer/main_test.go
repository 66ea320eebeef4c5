package syncer

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/sublet-dev/sublet/test/goroutines"
)

// TestMain fails if a test leaves a goroutine behind.
func TestMain(m *testing.M) {
	goroutines.Verify(m,
		// A queue starts its goroutines when it is created. Many tests create an engine
		// and never run it.
		goleak.IgnoreTopFunction("k8s.io/client-go/util/workqueue.(*Typed[...]).updateUnfinishedWorkLoop"),
		goleak.IgnoreTopFunction("k8s.io/client-go/util/workqueue.(*delayingType[...]).waitingLoop"),
	)
}
