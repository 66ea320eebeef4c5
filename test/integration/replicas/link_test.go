package replicas

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/sublet-dev/sublet/hostlab/sim/tenant"
)

// link is the network between one process and a server. When it is cut, nothing passes and
// nobody is told, as with a cable that is pulled. What was sent passes once it is mended.
type link struct {
	listener net.Listener
	target   string

	mu     sync.Mutex
	intact chan struct{} // closed while the link is not cut
	ended  chan struct{}
}

// newLink returns a link to an address that ends with the test.
func newLink(t *testing.T, target string) *link {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := newLane(target, make(chan struct{}))
	l.listener = listener
	var serving sync.WaitGroup
	serving.Go(func() { l.serve(&serving) })
	t.Cleanup(func() {
		close(l.ended)
		_ = listener.Close()
		serving.Wait()
	})
	return l
}

// newLane returns a link without a near end of its own. It ends when the channel is closed.
func newLane(target string, ended chan struct{}) *link {
	l := &link{target: target, intact: make(chan struct{}), ended: ended}
	close(l.intact)
	return l
}

// Address returns host:port of the near end.
func (l *link) Address() string { return l.listener.Addr().String() }

// cut cuts the link until mend.
func (l *link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if isClosed(l.intact) {
		l.intact = make(chan struct{})
	}
}

// mend lets everything pass again.
func (l *link) mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !isClosed(l.intact) {
		close(l.intact)
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// await waits until the link is intact, and reports whether it is. The alternative is that
// the link has ended.
func (l *link) await() bool {
	l.mu.Lock()
	intact := l.intact
	l.mu.Unlock()
	select {
	case <-intact:
		return true
	case <-l.ended:
		return false
	}
}

func (l *link) serve(serving *sync.WaitGroup) {
	for {
		near, err := l.listener.Accept()
		if err != nil {
			return
		}
		serving.Go(func() { l.connect(near) })
	}
}

// connect connects both ends until one of them closes.
func (l *link) connect(near net.Conn) {
	defer near.Close()
	if !l.await() {
		return
	}
	far, err := new(net.Dialer).DialContext(context.Background(), "tcp", l.target)
	if err != nil {
		return
	}
	defer far.Close()
	defer closeAtEnd(l.ended, near, far)()
	var copying sync.WaitGroup
	copying.Go(func() { l.copy(far, near) })
	copying.Go(func() { l.copy(near, far) })
	copying.Wait()
}

// closeAtEnd closes the connections when ended is closed, or when the returned function is
// called.
func closeAtEnd(ended <-chan struct{}, connections ...net.Conn) (stop func()) {
	stopped := make(chan struct{})
	go func() {
		select {
		case <-ended:
		case <-stopped:
		}
		for _, connection := range connections {
			_ = connection.Close()
		}
	}()
	return func() { close(stopped) }
}

// copy copies what is read until either end closes, and then closes both.
func (l *link) copy(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if !l.await() {
			return
		}
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// network is what a fault cuts, one link or several.
type network interface {
	cut()
	mend()
}

// links are cut and mended together.
type links []*link

func (all links) cut() {
	for _, l := range all {
		l.cut()
	}
}

func (all links) mend() {
	for _, l := range all {
		l.mend()
	}
}

// linkedHost is a host at the far end of a link.
type linkedHost struct {
	tenant.Host
	link *link
}

// Address implements [tenant.Host].
func (h linkedHost) Address() string { return h.link.Address() }

func TestLink(t *testing.T) {
	t.Parallel()
	echo, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer echo.Close()
	go func() {
		for {
			connection, err := echo.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(connection, connection)
				_ = connection.Close()
			}()
		}
	}()
	l := newLink(t, echo.Addr().String())
	connection, err := new(net.Dialer).DialContext(t.Context(), "tcp", l.Address())
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	answer := make([]byte, 1)
	readByte := func(patience time.Duration) error {
		if err := connection.SetReadDeadline(time.Now().Add(patience)); err != nil {
			return err
		}
		_, err := connection.Read(answer)
		return err
	}
	send := func() {
		if _, err := connection.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	send()
	if err := readByte(patience); err != nil {
		t.Fatalf("an intact link: %v", err)
	}
	l.cut()
	l.cut()
	send()
	var timeout net.Error
	if err := readByte(50 * time.Millisecond); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("a cut link: %v, want silence", err)
	}
	l.mend()
	l.mend()
	if err := readByte(patience); err != nil {
		t.Errorf("a mended link: %v, want what was sent before", err)
	}
}
