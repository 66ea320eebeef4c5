package ports

import (
	"net"
	"testing"
)

func TestFree(t *testing.T) {
	t.Parallel()
	taken := map[string]bool{}
	for range 20 {
		address := Free(t, "127.0.0.1")
		if taken[address] {
			t.Fatalf("%s was returned although somebody listens there", address)
		}
		listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address)
		if err != nil {
			t.Fatalf("nobody can listen on %s: %v", address, err)
		}
		defer func() { _ = listener.Close() }()
		taken[address] = true
	}
}

// TestFreeForOne checks that no address is for two servers that do not run yet.
func TestFreeForOne(t *testing.T) {
	t.Parallel()
	taken := map[string]bool{}
	for range 2000 {
		address := Free(t, "127.0.0.2")
		if taken[address] {
			t.Fatalf("%s was returned twice", address)
		}
		taken[address] = true
	}
}
