package storage

import (
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// unacknowledged is how long sent data may stay unacknowledged, in milliseconds, before the connection is
// closed. It is the TCP_USER_TIMEOUT.
const unacknowledged = 15_000

// limitUnacknowledged closes a connection to a server that is gone. Without it, a pending request would wait
// for a quarter of an hour.
func limitUnacknowledged(network, _ string, conn syscall.RawConn) error {
	if !strings.HasPrefix(network, "tcp") {
		return nil
	}
	var failed error
	if err := conn.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, unacknowledged)
	}); err != nil {
		return err
	}
	return failed
}
