package connlimit

import (
	"io"
	"net"
	"testing"

	"github.com/sublet-dev/sublet/test/goroutines"
)

// TestMain fails if a test leaves a goroutine behind.
func TestMain(m *testing.M) { goroutines.Verify(m) }

// fakeConn is a connection that was accepted from some address.
type fakeConn struct {
	net.Conn
	remote net.Addr
}

// RemoteAddr implements net.Conn.
func (c fakeConn) RemoteAddr() net.Addr { return c.remote }

// fakeListener accepts what was dialed.
type fakeListener struct {
	net.Listener
	dialed chan net.Conn
}

// Accept implements net.Listener.
func (l fakeListener) Accept() (net.Conn, error) {
	c, ok := <-l.dialed
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

// peers is a bounded listener and the clients of its connections.
type peers struct {
	t        *testing.T
	dialed   chan net.Conn
	listener *listener
}

func newPeers(t *testing.T, most int64) *peers {
	t.Helper()
	dialed := make(chan net.Conn, 1)
	bounded := Listener(fakeListener{dialed: dialed}, "api", func() int64 { return most })
	return &peers{t, dialed, bounded.(*listener)}
}

// peer is both ends of a connection.
type peer struct {
	t              *testing.T
	client, server net.Conn
}

// dial connects from an address.
func (p *peers) dial(ip string) *peer {
	p.t.Helper()
	client, server := net.Pipe()
	p.t.Cleanup(func() { _ = client.Close(); _ = server.Close() })
	p.dialed <- fakeConn{server, &net.TCPAddr{IP: net.ParseIP(ip), Port: 1234}}
	accepted, err := p.listener.Accept()
	if err != nil {
		p.t.Fatal(err)
	}
	return &peer{p.t, client, accepted}
}

// send sends a byte to the server.
func (p *peer) send() {
	p.t.Helper()
	go func() { _, _ = p.client.Write([]byte{1}) }()
	if _, err := io.ReadFull(p.server, make([]byte, 1)); err != nil {
		p.t.Fatal(err)
	}
}

// isOpen reports whether the server has not ended the connection.
func (p *peer) isOpen() bool {
	done := make(chan error, 1)
	go func() {
		_, err := p.client.Write([]byte{1})
		done <- err
	}()
	_, _ = p.server.Read(make([]byte, 1))
	return <-done == nil
}

// TestMost opens one connection too many. The source that has the most loses the one that it used least recently.
func TestMost(t *testing.T) {
	t.Parallel()
	p := newPeers(t, 4)
	other := p.dial("10.0.0.9")
	first, second, third := p.dial("10.0.0.1"), p.dial("10.0.0.1"), p.dial("10.0.0.1")
	first.send()
	newcomer := p.dial("10.0.0.7")
	for name, tc := range map[string]struct {
		peer *peer
		want bool
	}{
		"OtherSource": {other, true}, "Used": {first, true}, "Quiet": {second, false}, "LaterQuiet": {third, true}, "Newcomer": {newcomer, true},
	} {
		if got := tc.peer.isOpen(); got != tc.want {
			t.Errorf("%s: open is %v, want %v", name, got, tc.want)
		}
	}
}

// TestFlood opens many connections from one range of addresses. They end each other.
func TestFlood(t *testing.T) {
	t.Parallel()
	p := newPeers(t, 3)
	quiet := p.dial("10.0.0.9")
	var last *peer
	for _, ip := range []string{"2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8::4", "2001:db8::5"} {
		last = p.dial(ip)
	}
	if !quiet.isOpen() || !last.isOpen() {
		t.Error("a flood ended the connection of another source, or its own newest one")
	}
	if p.listener.total != 3 {
		t.Errorf("%d connections are open, want 3", p.listener.total)
	}
}

// TestClose closes connections. They count no more, also if they are closed twice.
func TestClose(t *testing.T) {
	t.Parallel()
	p := newPeers(t, 2)
	first, second := p.dial("10.0.0.1"), p.dial("10.0.0.2")
	_ = first.server.Close()
	_ = first.server.Close()
	third := p.dial("10.0.0.2")
	if !second.isOpen() || !third.isOpen() {
		t.Error("a closed connection counts")
	}
	_ = second.server.Close()
	_ = third.server.Close()
	if p.listener.total != 0 || len(p.listener.conns) != 0 {
		t.Errorf("left: %d connections of %d sources", p.listener.total, len(p.listener.conns))
	}
}
