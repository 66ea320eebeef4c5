package storage

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"golang.org/x/sys/unix"
)

// TestConnectionsEndWithTheirServer checks what bounds a request to an etcd whose machine has died. Nothing
// closes that connection, and gRPC asks only each half minute.
func TestConnectionsEndWithTheirServer(t *testing.T) {
	t.Parallel()
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.EnableHTTP2 = true
	secure.StartTLS()
	t.Cleanup(secure.Close)
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	ca := newSigner(t)
	ca.trust(t, secure.Certificate())
	for _, endpoint := range []string{secure.URL, plain.URL} {
		x := &External{Endpoints: []string{endpoint}, TLS: TLSFiles{Dir: ca.dir}}
		conn, err := x.dial(t.Context(), hostPort(endpoint))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		if secured, ok := conn.(*tls.Conn); ok {
			conn = secured.NetConn()
		}
		if got := userTimeout(t, conn); got != unacknowledged {
			t.Errorf("%s: sent data may stay without an acknowledgement for %d ms, want %d", endpoint, got, unacknowledged)
		}
	}
}

// userTimeout returns how long sent data may stay without an acknowledgement, 0 for the kernel's default.
func userTimeout(t *testing.T, conn net.Conn) (timeout int) {
	t.Helper()
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		timeout, failed = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT)
	})
	if err != nil || failed != nil {
		t.Fatal(err, failed)
	}
	return timeout
}
