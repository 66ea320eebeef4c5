package egress

import (
	"context"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"
)

// endless is a connection to a server that sends without end.
type endless struct{ net.Conn }

func (endless) Read(b []byte) (int, error) { return len(b), nil }
func (endless) Close() error               { return nil }

// TestPace reads from two servers that send without end.
func TestPace(t *testing.T) {
	t.Parallel()
	clock := clocktesting.NewFakeClock(time.Unix(0, 0))
	p := newPace(clock)
	first, second := p.wrap(endless{}), p.wrap(endless{})
	if n, err := io.CopyN(io.Discard, first, readBurst); err != nil {
		t.Fatalf("a burst ends after %d bytes: %v", n, err)
	}
	read := make(chan int64)
	go func() {
		n, err := io.CopyN(io.Discard, second, 4<<20)
		if err != nil {
			t.Error(err)
		}
		read <- n
	}()
	begin := clock.Now()
	for done := false; !done; {
		select {
		case <-read:
			done = true
		case <-time.After(time.Millisecond):
			if clock.HasWaiters() {
				clock.Step(time.Millisecond)
			}
		}
	}
	if took := clock.Since(begin); took < 400*time.Millisecond || took > time.Second {
		t.Errorf("4 MiB more took %s, want half a second, as both share one pace", took)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.CopyN(io.Discard, first, readBurst)
	}()
	awaitTimer(t, clock)
	p.limiter.SetBurst(2 * readBurst) // What is left is read at once.
	clock.Step(time.Hour)
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Error("a reader waits for ever")
	}
	_, _ = first.Close(), second.Close()
}

// TestDialsAtPace reads from a server that sends without end, over a connection of the dialer.
func TestDialsAtPace(t *testing.T) {
	t.Parallel()
	pod := newPod("front", "10.1.0.5")
	w := newWorld(t, func(o *Options) {
		o.Connect = func(context.Context, netip.AddrPort) (net.Conn, error) { return endless{}, nil }
	}, pod)
	w.copyOf(pod, nil)
	conn, err := w.DialContext(t.Context(), "tcp", "10.1.0.5:443")
	if err != nil {
		t.Fatal(err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.CopyN(io.Discard, conn, 2*readBurst)
	}()
	awaitTimer(t, w.clock)
	_ = conn.Close()
	<-read
}
