package nodeproxy

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// errListenerClosed is returned by dial and Accept when the proxy does not run.
var errListenerClosed = errors.New("the node proxy does not run")

// memoryListener is a net.Listener whose connections are buffers in memory.
//
// gRPC's bufconn is not used: a deadline in its past may fire after it was reset. The
// HTTP server sets such a deadline before it passes a connection on, so a stream
// would fail now and then.
type memoryListener struct {
	conns  chan net.Conn
	closed chan struct{}
	close  func()
}

// newMemoryListener creates a listener.
func newMemoryListener() *memoryListener {
	l := &memoryListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	l.close = sync.OnceFunc(func() { close(l.closed) })
	return l
}

// dial waits until the connection is accepted.
func (l *memoryListener) dial(ctx context.Context) (net.Conn, error) {
	request, response := newFlow(), newFlow()
	select {
	case l.conns <- &memoryConn{in: request, out: response}:
		return &memoryConn{in: response, out: request}, nil
	case <-l.closed:
		return nil, errListenerClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Accept implements net.Listener.
func (l *memoryListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, errListenerClosed
	}
}

// Close implements net.Listener.
func (l *memoryListener) Close() error {
	l.close()
	return nil
}

// Addr implements net.Listener.
func (l *memoryListener) Addr() net.Addr { return memoryAddr{} }

// memoryConn is one end of a connection. net.Pipe is not used: it has no buffer, so
// two TLS peers that write at once would wait for each other.
type memoryConn struct {
	in, out *flow
}

// Read implements net.Conn.
func (c *memoryConn) Read(b []byte) (int, error) { return c.in.read(b) }

// Write implements net.Conn.
func (c *memoryConn) Write(b []byte) (int, error) { return c.out.write(b) }

// Close implements net.Conn. The other end may still read what was written.
func (c *memoryConn) Close() error {
	c.in.closeSide(&c.in.readerClosed)
	c.out.closeSide(&c.out.writerClosed)
	return nil
}

// SetDeadline implements net.Conn.
func (c *memoryConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline implements net.Conn.
func (c *memoryConn) SetReadDeadline(t time.Time) error {
	c.in.setDeadline(&c.in.readDeadline, t)
	return nil
}

// SetWriteDeadline implements net.Conn.
func (c *memoryConn) SetWriteDeadline(t time.Time) error {
	c.out.setDeadline(&c.out.writeDeadline, t)
	return nil
}

// LocalAddr implements net.Conn.
func (c *memoryConn) LocalAddr() net.Addr { return memoryAddr{} }

// RemoteAddr implements net.Conn.
func (c *memoryConn) RemoteAddr() net.Addr { return memoryAddr{} }

// memoryAddr is the address of connections in memory.
type memoryAddr struct{}

// Network implements net.Addr.
func (memoryAddr) Network() string { return "memory" }

// String implements net.Addr.
func (memoryAddr) String() string { return "memory" }

// flow is one direction of a connection: a ring buffer with a reader and a writer.
type flow struct {
	mu      sync.Mutex
	changed *sync.Cond
	ring    []byte // nil until something is written
	start   int    // index of the oldest byte
	length  int    // number of bytes that wait for the reader

	readerClosed, writerClosed  bool
	readDeadline, writeDeadline deadline
}

// deadline is a time after which reads or writes of a flow fail.
type deadline struct {
	timer  *time.Timer
	passed bool
	// generation counts how often the deadline was set. A timer of an earlier
	// generation that could not be stopped changes nothing.
	generation int
}

func newFlow() *flow {
	f := &flow{}
	f.changed = sync.NewCond(&f.mu)
	return f
}

// read reads the available bytes, and waits while there are none.
func (f *flow) read(b []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		switch {
		case f.readerClosed:
			return 0, net.ErrClosed
		case f.readDeadline.passed:
			return 0, os.ErrDeadlineExceeded
		case f.length > 0:
			return f.take(b), nil
		case f.writerClosed:
			return 0, io.EOF
		}
		f.changed.Wait()
	}
}

// take moves bytes from the ring to b.
func (f *flow) take(b []byte) int {
	taken := 0
	for taken < len(b) && f.length > 0 {
		end := min(f.start+f.length, len(f.ring))
		n := copy(b[taken:], f.ring[f.start:end])
		f.start = (f.start + n) % len(f.ring)
		f.length -= n
		taken += n
	}
	f.changed.Broadcast()
	return taken
}

// write writes all of b to the ring, and waits while it is full.
func (f *flow) write(b []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	written := 0
	for {
		switch {
		case f.writerClosed, f.readerClosed:
			return written, net.ErrClosed
		case f.writeDeadline.passed:
			return written, os.ErrDeadlineExceeded
		case written == len(b):
			return written, nil
		case f.length == len(f.ring) && f.ring != nil:
			f.changed.Wait()
		default:
			written += f.writeSome(b[written:])
		}
	}
}

// writeSome moves bytes from b to the ring, as many as fit without wrapping around.
func (f *flow) writeSome(b []byte) int {
	if f.ring == nil {
		f.ring = make([]byte, connectionBuffer)
	}
	from := (f.start + f.length) % len(f.ring)
	to := len(f.ring)
	if from < f.start {
		to = f.start
	}
	n := copy(f.ring[from:to], b)
	f.length += n
	f.changed.Broadcast()
	return n
}

// closeSide marks one side as closed and wakes the other.
func (f *flow) closeSide(side *bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	*side = true
	f.changed.Broadcast()
}

// setDeadline lets a side fail from t on. With a zero t it waits without limit.
func (f *flow) setDeadline(d *deadline, t time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	d.generation++
	generation := d.generation
	wait := time.Until(t) //nolint:forbidigo // a deadline of net.Conn is a wall-clock time
	d.passed = !t.IsZero() && wait <= 0
	if !t.IsZero() && wait > 0 {
		d.timer = time.AfterFunc(wait, func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			if d.generation == generation {
				d.passed = true
				f.changed.Broadcast()
			}
		})
	}
	f.changed.Broadcast()
}
