package nodeproxy

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

const (
	switchRequest = "POST /exec/web/front-0/nginx?command=sh&output=1 HTTP/1.1\r\nHost: node-7\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
	switchAnswer  = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\nAudit-Id: of-the-host\r\n\r\n"
)

// switchedRelay returns both ends of a relay for a protocol without a message for its
// end. Each side sends its first word together with its header.
func switchedRelay(t *testing.T) (client net.Conn, fromHost *bufio.Reader, host net.Conn) {
	t.Helper()
	h := newFakeHost(t)
	hostConn, hostRead := make(chan net.Conn, 1), make(chan string, 1)
	h.refuse = func(w http.ResponseWriter, _ *http.Request) {
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Errorf("cannot hijack: %v", err)
			return
		}
		_, _ = io.WriteString(conn, switchAnswer+"hello")
		word := make([]byte, len("early"))
		_, _ = io.ReadFull(buffered, word)
		hostRead <- string(word)
		hostConn <- conn
	}
	p, _ := startProxy(t, h, nil)
	raw, err := p.Dial(t.Context(), "tcp", "node-7:10250")
	if err != nil {
		t.Fatal(err)
	}
	client = tls.Client(raw, &tls.Config{InsecureSkipVerify: true})
	t.Cleanup(func() { _ = client.Close() })
	if _, err := io.WriteString(client, switchRequest+"early"); err != nil {
		t.Fatal(err)
	}
	fromHost = bufio.NewReader(client)
	response, err := http.ReadResponse(fromHost, nil)
	if err != nil || response.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("want a switch of protocols, got %v, %v", response, err)
	}
	defer func() { _ = response.Body.Close() }()
	if got := response.Header.Get("Upgrade"); got != "echo" {
		t.Errorf("the agreed protocol: want echo, got %q", got)
	}
	if got := response.Header.Get("Audit-Id"); got != "" {
		t.Errorf("a header of the host reached the tenant: %q", got)
	}
	word := make([]byte, len("hello"))
	if _, err := io.ReadFull(fromHost, word); err != nil || string(word) != "hello" {
		t.Errorf("what the host sends with its answer: want hello, got %q, %v", word, err)
	}
	if got := receive(t, hostRead, "the client's first word"); got != "early" {
		t.Errorf("what the client sends with its request: want early, got %q", got)
	}
	host = receive(t, hostConn, "the host's connection")
	t.Cleanup(func() { _ = host.Close() })
	return client, fromHost, host
}

func TestClientVanishes(t *testing.T) {
	t.Parallel()
	client, _, host := switchedRelay(t)
	_ = client.Close()
	_ = host.SetReadDeadline(time.Now().Add(time.Minute))
	if _, err := host.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("a client that vanishes must not leave the host's side open: want EOF, got %v", err)
	}
}

func TestHostVanishes(t *testing.T) {
	t.Parallel()
	client, fromHost, host := switchedRelay(t)
	_, _ = io.WriteString(host, "last words")
	_ = host.Close()
	_ = client.SetReadDeadline(time.Now().Add(time.Minute))
	got, err := io.ReadAll(fromHost)
	if err != nil || string(got) != "last words" {
		t.Errorf("what the host said before it vanished is delivered: want %q and the end, got %q, %v", "last words", got, err)
	}
}

func TestRequestTracker(t *testing.T) {
	t.Parallel()
	var r requestTracker
	if !r.add() {
		t.Fatal("an open tracker rejects a request")
	}
	closed := make(chan struct{})
	go func() {
		r.closeAndWait()
		close(closed)
	}()
	awaitClosed(t, &r)
	select {
	case <-closed:
		t.Error("the tracker did not wait for a request in progress")
	default:
	}
	r.done()
	receive(t, closed, "the tracker to close")
}

// awaitClosed waits until the tracker rejects new requests.
func awaitClosed(t *testing.T, r *requestTracker) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		if !r.add() {
			return
		}
		r.done()
	}
	t.Fatal("a closing tracker still accepts requests after 10 s")
}
