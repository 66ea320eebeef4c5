package forward_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"

	"github.com/sublet-dev/sublet/pkg/cli/forward"
)

// patience bounds waits on a busy machine.
const patience = time.Minute

// kubelet answers port-forwards with an echo of each line, with the number of the session.
type kubelet struct {
	mu       sync.Mutex
	sessions []httpstream.Connection
	refuse   bool // a session that starts now reports a failure for each connection, as of a pod that is gone
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
	number, refuse := len(k.sessions), k.refuse
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

// closeSessions closes all sessions, as at the restart of an API server. It returns their number.
func (k *kubelet) closeSessions() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, session := range k.sessions {
		_ = session.Close()
	}
	return len(k.sessions)
}

// setRefuse sets what the sessions do that start later.
func (k *kubelet) setRefuse(refuse bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.refuse = refuse
}

// newForwarder returns a forwarder to a kubelet.
func newForwarder(t *testing.T, k *kubelet) *forward.Forwarder {
	t.Helper()
	server := httptest.NewServer(k)
	t.Cleanup(func() {
		k.closeSessions()
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

// sendLine sends a line and returns the answer.
func sendLine(conn net.Conn, line string) (string, error) {
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
	for round := range 3 {
		dropped := k.closeSessions()
		for range 2 {
			if err := dialAndAsk(listener.Addr().String(), dropped); err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
		}
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// dialAndAsk opens connections until one is answered by a session that was not dropped. That one
// was dropped may be noticed only by its use.
func dialAndAsk(address string, dropped int) error {
	end := time.Now().Add(patience)
	for {
		answer, err := dialOnce(address)
		number, text, _ := strings.Cut(answer, " ")
		if n, convErr := strconv.Atoi(number); err == nil && convErr == nil && n > dropped && text == "hello" {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("the last answer is %q, %w, and not of a session after %d", answer, err, dropped)
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
	return sendLine(conn, "hello")
}

// TestReplacedPod closes a connection to a pod that is gone, whose session stays open. The next one
// reaches the new pod.
func TestReplacedPod(t *testing.T) {
	t.Parallel()
	k := &kubelet{refuse: true}
	forwarder := newForwarder(t, k)
	defer forwarder.Close()
	conn, err := forwarder.DialContext(t.Context(), "", "")
	if err != nil {
		t.Fatal(err)
	}
	if answer, err := sendLine(conn, "hello"); err == nil {
		t.Errorf("an answer from a port that nobody serves: %q", answer)
	}
	_ = conn.Close()
	k.setRefuse(false)
	if conn, err = forwarder.DialContext(t.Context(), "", ""); err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if answer, err := sendLine(conn, "hello"); err != nil || !strings.HasSuffix(answer, " hello") {
		t.Errorf("after the pod was replaced: %q, %v", answer, err)
	}
}

// TestUnreachable gives up when its context ends, with the cause.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	forwarder := newForwarder(t, &kubelet{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	attempts := 0
	forwarder.Pod = func(context.Context) (string, error) {
		if attempts++; attempts == 2 {
			cancel() // The end of the context is no reason by itself.
		}
		return "", fmt.Errorf("no pod runs")
	}
	if _, err := forwarder.DialContext(ctx, "", ""); err == nil || !strings.Contains(err.Error(), "no pod runs") {
		t.Errorf("got %v", err)
	}
	if err := forwarder.Explain(context.DeadlineExceeded); err == nil || err.Error() != "no pod runs" {
		t.Errorf("it explains an end of the time by %v", err)
	}
}
