// Package connlimit bounds the connections that a listener accepts.
//
// Each connection takes memory, with or without requests, and whoever reaches the port can open as many as
// it likes. A plain limit would lock out everybody else. So a connection above the limit ends another one: of the
// source with the most connections, the one that was quiet for the longest time.
package connlimit

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"k8s.io/component-base/metrics"

	"github.com/sublet-dev/sublet/pkg/meter"
)

// sourceBits is the length of the prefix of an IPv6 address that is one source. A host has
// such a range for itself.
const sourceBits = 64

// endedTotal is the metric of connections that were ended.
var endedTotal = sync.OnceValue(func() *metrics.CounterVec { //nolint:gochecknoglobals // a metric is one per process
	return meter.CounterVec("sublet_connections_ended_total",
		"Connections that were ended because there were more than the limit, by port: api or dns.", "port")
})

// listener is the listener of [Listener].
type listener struct {
	net.Listener
	port string
	most func() int64
	// uses counts reads and writes of all connections, so that it orders them.
	uses atomic.Int64

	mu    sync.Mutex
	total int64
	conns map[netip.Prefix]map[*conn]struct{} // by source
}

// Listener returns a listener with at most as many open connections as most returns, which may change. The name of
// the port is for the metric.
func Listener(inner net.Listener, port string, most func() int64) net.Listener {
	return &listener{Listener: inner, port: port, most: most, conns: map[netip.Prefix]map[*conn]struct{}{}}
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	inner, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: inner, listener: l, source: sourceRange(inner.RemoteAddr())}
	c.lastUse.Store(l.uses.Add(1))
	for _, quiet := range l.add(c) {
		endedTotal().WithLabelValues(l.port).Inc()
		_ = quiet.Close()
	}
	return c, nil
}

// add adds a connection. It returns those that are to end for it.
func (l *listener) add(c *conn) []*conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total++
	if l.conns[c.source] == nil {
		l.conns[c.source] = map[*conn]struct{}{}
	}
	l.conns[c.source][c] = struct{}{}
	var ended []*conn
	for most := max(l.most(), 1); l.total > most; {
		quiet := l.quietest()
		l.removeConn(quiet)
		ended = append(ended, quiet)
	}
	return ended
}

// quietest returns the connection that was quiet for the longest time, of the source that has the most. The
// caller holds the lock.
func (l *listener) quietest() *conn {
	var largest map[*conn]struct{}
	for _, conns := range l.conns {
		if len(conns) > len(largest) {
			largest = conns
		}
	}
	var quiet *conn
	for c := range largest {
		if quiet == nil || c.lastUse.Load() < quiet.lastUse.Load() {
			quiet = c
		}
	}
	return quiet
}

// removeConn removes a connection if it is there. The caller holds the lock.
func (l *listener) removeConn(c *conn) {
	if _, ok := l.conns[c.source][c]; !ok {
		return
	}
	l.total--
	if delete(l.conns[c.source], c); len(l.conns[c.source]) == 0 {
		delete(l.conns, c.source)
	}
}

// conn is a connection that counts until it is closed.
type conn struct {
	net.Conn
	listener *listener
	source   netip.Prefix
	lastUse  atomic.Int64
}

// Read implements net.Conn.
func (c *conn) Read(b []byte) (int, error) { return c.use(c.Conn.Read(b)) }

// Write implements net.Conn.
func (c *conn) Write(b []byte) (int, error) { return c.use(c.Conn.Write(b)) }

// use records that bytes were read or written.
func (c *conn) use(n int, err error) (int, error) {
	if n > 0 {
		c.lastUse.Store(c.listener.uses.Add(1))
	}
	return n, err
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.listener.mu.Lock()
	c.listener.removeConn(c)
	c.listener.mu.Unlock()
	return c.Conn.Close()
}

// sourceRange returns the range of addresses that counts as one source. It is the zero prefix if the address is none.
func sourceRange(address net.Addr) netip.Prefix {
	tcp, ok := address.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	bits := ip.BitLen()
	if ip.Is6() {
		bits = sourceBits
	}
	prefix, err := ip.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return prefix
}
