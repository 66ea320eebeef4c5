package egress

import (
	"net"
	"sync"

	"golang.org/x/time/rate"
	"k8s.io/utils/clock"
)

const (
	// readRate is how many bytes per second all connections of a dialer deliver together, once
	// readBurst bytes are used up.
	readRate  = 8 << 20
	readBurst = 32 << 20
)

// pace bounds how fast servers of the tenant send. The API server keeps whole answers in memory,
// of webhooks for up to 30 s and of an aggregated API's discovery for 5 s. It asks for discovery
// at each start, so a server that sends without end would end each new process.
type pace struct {
	clock   clock.Clock
	limiter *rate.Limiter
}

func newPace(c clock.Clock) *pace {
	return &pace{clock: c, limiter: rate.NewLimiter(readRate, readBurst)}
}

// wrap returns a connection that delivers at the pace.
func (p *pace) wrap(conn net.Conn) net.Conn {
	return &pacedConn{Conn: conn, pace: p, closed: make(chan struct{})}
}

// wait returns when n bytes that were read may be delivered, or when the connection closes.
func (p *pace) wait(n int, closed <-chan struct{}) {
	now := p.clock.Now()
	delay := p.limiter.ReserveN(now, min(n, readBurst)).DelayFrom(now)
	if delay == 0 {
		return
	}
	timer := p.clock.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C():
	case <-closed:
	}
}

// pacedConn is a connection that delivers at a pace.
type pacedConn struct {
	net.Conn
	pace   *pace
	once   sync.Once
	closed chan struct{}
}

// Read implements net.Conn.
func (c *pacedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.pace.wait(n, c.closed)
	}
	return n, err
}

// Close implements net.Conn.
func (c *pacedConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}
