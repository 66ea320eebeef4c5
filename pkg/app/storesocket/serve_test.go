package storesocket

import (
	"context"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
)

// fullListener fails to accept until it has done so a number of times.
type fullListener struct {
	net.Listener

	failures atomic.Int32 // left
}

// Accept implements net.Listener.
func (l *fullListener) Accept() (net.Conn, error) {
	if l.failures.Add(-1) >= 0 {
		return nil, &net.OpError{Op: "accept", Net: "unix", Err: syscall.EMFILE}
	}
	return l.Listener.Accept()
}

// pipeListener is a listener of connections in memory.
type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
}

// Accept implements net.Listener.
func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *pipeListener) Close() error { close(l.done); return nil }

// Addr implements net.Listener.
func (l *pipeListener) Addr() net.Addr { return nil }

// TestTooManyOpenFiles forwards connections after the process could not accept any for a while. Time is simulated.
func TestTooManyOpenFiles(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		pipes := newPipeListener()
		listener := &fullListener{Listener: pipes}
		listener.failures.Store(20)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		store, far := net.Pipe()
		go func() {
			defer close(done)
			forwardAll(ctx, listener, func(context.Context) (net.Conn, error) { return far, nil })
		}()
		client, accepted := net.Pipe()
		pipes.conns <- accepted
		go func() { _, _ = client.Write([]byte("x")) }()
		got := make([]byte, 1)
		if _, err := store.Read(got); err != nil || string(got) != "x" {
			t.Errorf("The store got %q, %v, want x", got, err)
		}
		stop()
		<-done
	})
}
