package app

import (
	"bytes"
	"net"
	"strings"
	"testing"
	"time"
)

func TestIsolationCheck(t *testing.T) {
	t.Parallel()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	open := listener.Addr().String()
	t.Cleanup(func() { _ = listener.Close() })
	gone, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := gone.Addr().String()
	_ = gone.Close()
	for _, c := range []struct {
		reason, address, want string
	}{
		{"an address that answers", open, "nothing here enforces NetworkPolicies"},
		{"an address that does not", closed, ""},
		{"outside of a pod", ":", "--address"},
	} {
		var out bytes.Buffer
		err := isolationCheck{address: c.address, patience: 50 * time.Millisecond, timeout: time.Minute, pause: time.Millisecond}.run(t.Context(), &out)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.reason, err)
		}
	}
}
