package dns

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/sublet-dev/sublet/test/goroutines"
)

// TestMain fails if a test leaves a goroutine behind.
func TestMain(m *testing.M) {
	goroutines.Verify(m,
		// CoreDNS ends the connections of a forwarder in a finalizer.
		goleak.IgnoreTopFunction("github.com/coredns/coredns/plugin/pkg/proxy.(*Transport).connManager"),
	)
}
