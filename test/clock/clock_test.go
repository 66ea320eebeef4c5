package clock

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestOverlay fails when a new toolchain reads the clock in another way.
func TestOverlay(t *testing.T) {
	t.Parallel()
	if _, err := writeOverlay(t.Context(), t.TempDir()); err != nil {
		t.Fatal(err)
	}
}

func TestClock(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "clock")
	c, err := New(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []time.Duration{0, time.Hour, -time.Hour} {
		if err := c.Set(want); err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(path)
		if err != nil || len(content) != 8 {
			t.Fatalf("%d bytes, %v", len(content), err)
		}
		if got := time.Duration(binary.NativeEndian.Uint64(content)); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}
