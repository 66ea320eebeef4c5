package nodeproxy

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/sublet-dev/sublet/test/goroutines"
)

// TestMain fails if a test leaves a goroutine behind.
func TestMain(m *testing.M) {
	goroutines.Verify(m,
		// Peers in the tests speak SPDY and WebSocket by libraries whose goroutines
		// outlive their connection for a while.
		goleak.IgnoreTopFunction("github.com/moby/spdystream.(*Connection).shutdown"),
		goleak.IgnoreTopFunction("k8s.io/client-go/tools/remotecommand.(*heartbeat).start"),
	)
}
