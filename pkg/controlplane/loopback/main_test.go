package loopback

import (
	"testing"

	"github.com/sublet-dev/sublet/test/goroutines"
)

// TestMain fails if a test leaves a goroutine behind.
func TestMain(m *testing.M) { goroutines.Verify(m) }
