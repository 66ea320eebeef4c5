package storage

import (
	"path/filepath"
	"syscall"
	"testing"
)

// TestUnlockFile releases a lock of which somebody has a copy of the descriptor.
func TestUnlockFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	first, err := lockFile(path)
	if err != nil {
		t.Fatal(err)
	}
	held, err := syscall.Dup(int(first.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Close(held) }()
	unlockFile(first)
	second, err := lockFile(path)
	if err != nil {
		t.Fatalf("a lock that was released: %v", err)
	}
	unlockFile(second)
}
