// Package ports finds ports for the servers of tests.
package ports

import (
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"testing"
)

// given has the addresses that this process has returned. Their servers may not run yet, or not again.
var given sync.Map //nolint:gochecknoglobals // A port belongs to the machine, not to a test.

// Free returns an address of an IP on which nobody listens. Its port is below those that
// the system gives to connections and to listeners that ask for any. So it is still free
// when a server uses it, also again after a stop.
func Free(t testing.TB, ip string) string {
	t.Helper()
	const first, count, tries = 10_000, 10_000, 100
	var err error
	for range tries {
		address := net.JoinHostPort(ip, strconv.Itoa(first+rand.IntN(count))) //nolint:gosec // Any port will do.
		var listener net.Listener
		if listener, err = new(net.ListenConfig).Listen(t.Context(), "tcp", address); err == nil {
			_ = listener.Close()
			if _, taken := given.LoadOrStore(address, true); !taken {
				return address
			}
		}
	}
	t.Fatalf("no port of %s is free: %v", ip, err)
	return ""
}
