package storage

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/sublet-dev/sublet/test/goroutines"
)

// TestMain fails if a test leaves a goroutine behind. A watch that begins while kine closes its
// database leaves one in kine, which reads from a channel that does not exist.
func TestMain(m *testing.M) {
	goroutines.Verify(m, goleak.IgnoreTopFunction("github.com/k3s-io/kine/pkg/logstructured.(*LogStructured).Watch.func1"))
}
