package forward_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"

	"github.com/sublet-dev/sublet/pkg/cli/forward"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds waits on a busy machine.
const patience = time.Minute

// kubelet answers port-forwards with an echo of each line, with the number of the session.
type kubelet struct {
	mu       sync.Mutex
	sessions []httpstream.Connection
	refuse   int // the number of sessions that report a failure for each connection, as of a pod that is gone
}

// ServeHTTP implements http.Handler.
func (k *kubelet) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if _, err := httpstream.Handshake(r, w, []string{"portforward.k8s.io"}); err != nil {
		return
	}
	streams := make(chan httpstream.Stream, 8)
	session := spdy.NewResponseUpgrader().UpgradeResponse(w, r, func(stream httpstream.Stream, _ <-chan struct{}) error {
		streams <- stream
		return nil
	})
	if session == nil {
		return
	}
	defer session.Close()
	k.mu.Lock()
	k.sessions = append(k.sessions, session)
	number, refuse := len(k.sessions), len(k.sessions) <= k.refuse
	k.mu.Unlock()
	var failures httpstream.Stream
	for {
		select {
		case <-session.CloseChan():
			return
		case stream := <-streams:
			if stream.Headers().Get(corev1.StreamType) == corev1.StreamTypeError {
				failures = stream
				continue
			}
			if refuse {
				_ = stream.Close() // the message may come later than the end of the data
				_, _ = io.WriteString(failures, "connection refused")
				_ = failures.Close()
				continue
			}
			go echo(stream, number)
		}
	}
}

// echo sends each line back, with the number of the session.
func echo(stream io.ReadWriteCloser, number int) {
	defer stream.Close()
	for lines := bufio.NewScanner(stream); lines.Scan(); {
		if _, err := fmt.Fprintf(stream, "%d %s\n", number, lines.Text()); err != nil {
			return
		}
	}
}

// drop closes all sessions, as at the restart of an API server.
func (k *kubelet) drop() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, session := range k.sessions {
		_ = session.Close()
	}
}

// newForwarder returns a forwarder to a kubelet.
func newForwarder(t *testing.T, k *kubelet) *forward.Forwarder {
	t.Helper()
	server := httptest.NewServer(k)
	t.Cleanup(func() {
		k.drop()
		server.Close()
	})
	config := &rest.Config{Host: server.URL}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return &forward.Forwarder{
		Config: config, Client: client, Namespace: "tenant", Port: 8443,
		Pod: func(context.Context) (string, error) { return "shop-0", nil },
	}
}

// ask sends a line and returns the answer.
func ask(conn net.Conn, line string) (string, error) {
	if _, err := fmt.Fprintln(conn, line); err != nil {
		return "", err
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	return strings.TrimSpace(answer), err
}

// TestReconnect drops the session to the host. The next connection opens another one.
func TestReconnect(t *testing.T) {
	t.Parallel()
	k := &kubelet{}
	forwarder := newForwarder(t, k)
	ctx, cancel := context.WithCancel(t.Context())
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error)
	go func() { served <- forwarder.Serve(ctx, listener) }()
	for round := 1; round <= 3; round++ {
		for range 2 { // connections share a session
			if err := dialAndAsk(listener.Addr().String(), fmt.Sprintf("%d hello", round)); err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
		}
		k.drop()
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// dialAndAsk opens connections until one gives the wanted answer: a session that was dropped may
// be noticed only by its use.
func dialAndAsk(address, want string) error {
	end := time.Now().Add(patience)
	for {
		got, err := dialOnce(address)
		if err == nil && got == want {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("got %q, %w, want %q", got, err, want)
		}
	}
}

func dialOnce(address string) (string, error) {
	conn, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	return ask(conn, "hello")
}

// TestReplacedPod closes a connection to a pod that is gone, whose session stays open. The next one
// reaches the new pod.
func TestReplacedPod(t *testing.T) {
	t.Parallel()
	forwarder := newForwarder(t, &kubelet{refuse: 1})
	defer forwarder.Close()
	conn, err := forwarder.DialContext(t.Context(), "", "")
	if err != nil {
		t.Fatal(err)
	}
	if answer, err := ask(conn, "hello"); err == nil {
		t.Errorf("an answer from a port that nobody serves: %q", answer)
	}
	_ = conn.Close()
	if conn, err = forwarder.DialContext(t.Context(), "", ""); err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if answer, err := ask(conn, "hello"); err != nil || answer != "2 hello" {
		t.Errorf("after the pod was replaced: %q, %v", answer, err)
	}
}

// TestUnreachable gives up when its context ends, with the cause.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	forwarder := newForwarder(t, &kubelet{})
	forwarder.Pod = func(context.Context) (string, error) { return "", fmt.Errorf("no pod runs") }
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := forwarder.DialContext(ctx, "", ""); err == nil || !strings.Contains(err.Error(), "no pod runs") {
		t.Errorf("got %v", err)
	}
}
