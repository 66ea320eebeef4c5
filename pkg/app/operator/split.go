package operator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"k8s.io/klog/v2"
)

const (
	// firstByteTimeout is how long a client may take to send its first byte.
	firstByteTimeout = 5 * time.Second
	// maxSilent bounds the connections that have not sent a byte yet. One more closes the
	// oldest, so that idle connections cannot block probes.
	maxSilent = 64
	// tlsHandshake is the first byte of every TLS connection: a handshake record.
	tlsHandshake = 0x16
	// firstPause is the pause after the first accept that has failed. It doubles up to lastPause.
	firstPause = 5 * time.Millisecond
	lastPause  = time.Second
)

// split accepts connections and passes each to one of two listeners, depending on whether it
// starts with a TLS handshake. It returns when the listener is closed. It retries after errors that
// pass, such as too many open files.
func split(ctx context.Context, listener net.Listener, secure, plain *queue) error {
	defer secure.closeOnce()
	defer plain.closeOnce()
	var silent silentConns
	pause := time.Duration(0)
	for {
		conn, err := listener.Accept()
		switch {
		case err == nil:
		case ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			return nil
		case !isTemporary(err):
			return fmt.Errorf("cannot accept a connection: %w", err)
		default:
			pause = min(max(2*pause, firstPause), lastPause)
			klog.InfoS("Cannot accept a connection to the operator's port, retrying", "err", err, "pause", pause)
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
			continue
		}
		pause = 0
		silent.add(conn)
		go routeConn(conn, secure, plain, func() { silent.removeConn(conn) })
	}
}

// isTemporary reports whether an accept that has failed may succeed later. net/http's Server asks the
// same.
func isTemporary(err error) bool {
	temporary, ok := errors.AsType[interface {
		error
		Temporary() bool
	}](err)
	return ok && temporary.Temporary()
}

// silentConns has the connections that have not sent a byte yet, the oldest first.
type silentConns struct {
	mu    sync.Mutex
	conns []net.Conn
}

// add adds a connection. It closes the oldest one if there are too many.
func (s *silentConns) add(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.conns) == maxSilent {
		_ = s.conns[0].Close()
		s.conns = slices.Delete(s.conns, 0, 1)
	}
	s.conns = append(s.conns, conn)
}

// removeConn removes a connection that has sent a byte or was closed.
func (s *silentConns) removeConn(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns = slices.DeleteFunc(s.conns, func(c net.Conn) bool { return c == conn })
}

// routeConn reads the first byte of a connection and passes the connection to a listener. It calls
// decided once the read has ended.
func routeConn(conn net.Conn, secure, plain *queue, decided func()) {
	first := make([]byte, 1)
	_ = conn.SetReadDeadline(time.Now().Add(firstByteTimeout))
	_, err := io.ReadFull(conn, first)
	decided()
	if err != nil {
		_ = conn.Close()
		return
	}
	_ = conn.SetReadDeadline(time.Time{})
	to := plain
	if first[0] == tlsHandshake {
		to = secure
	}
	to.push(&peeked{Conn: conn, reader: io.MultiReader(bytes.NewReader(first), conn)})
}

// peeked is a connection whose first byte was already read. Read returns it again.
type peeked struct {
	net.Conn
	reader io.Reader
}

// Read implements net.Conn.
func (p *peeked) Read(b []byte) (int, error) { return p.reader.Read(b) }

// queue is a net.Listener of connections that another listener has accepted.
type queue struct {
	address net.Addr
	conns   chan net.Conn
	done    chan struct{}
	once    sync.Once
}

func newQueue(address net.Addr) *queue {
	return &queue{address: address, conns: make(chan net.Conn), done: make(chan struct{})}
}

func (q *queue) push(conn net.Conn) {
	select {
	case q.conns <- conn:
	case <-q.done:
		_ = conn.Close()
	}
}

// Accept implements net.Listener.
func (q *queue) Accept() (net.Conn, error) {
	select {
	case conn := <-q.conns:
		return conn, nil
	case <-q.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (q *queue) Close() error {
	q.closeOnce()
	return nil
}

func (q *queue) closeOnce() { q.once.Do(func() { close(q.done) }) }

// Addr implements net.Listener.
func (q *queue) Addr() net.Addr { return q.address }
