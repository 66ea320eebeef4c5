package nodeproxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/client-go/util/exec"
	"k8s.io/streaming/pkg/httpstream"
)

// ways are the protocols in which a stream may reach a kubelet.
var ways = map[string]struct {
	reason     string
	translates bool
	spdy       bool
}{
	"SPDY": {
		reason: "kubectl before 1.31 and other old clients speak SPDY all the way",
		spdy:   true,
	},
	"WebSocket": {
		reason: "a node that says it understands WebSocket gets it as the client speaks it",
	},
	"WebSocketTranslated": {
		reason:     "for any other node the API server turns WebSocket into SPDY",
		translates: true,
	},
}

func executor(t *testing.T, server string, path string, spdyToo bool) remotecommand.Executor {
	t.Helper()
	config := &rest.Config{Host: server}
	u, err := url.Parse(server + path)
	if err != nil {
		t.Fatal(err)
	}
	var e remotecommand.Executor
	if spdyToo {
		e, err = remotecommand.NewSPDYExecutor(config, http.MethodPost, u)
	} else {
		e, err = remotecommand.NewWebSocketExecutor(config, http.MethodGet, u.String())
	}
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestExecAndAttach(t *testing.T) {
	t.Parallel()
	type want struct {
		stdout, stderr string
		exit           int
		method         string
		query          string
	}
	cases := map[string]struct {
		reason string
		path   string
		stdin  string
		want   want
	}{
		"Exec": {
			reason: "input, output, errors and the command reach the container, the exit code comes back",
			path:   "/exec/web/front-0/nginx?command=exit&command=a+b&input=1&output=1&error=1",
			stdin:  "hello",
			want: want{
				stdout: "hello", stderr: "nginx [\"exit\" \"a b\"] tty=false\n", exit: 3,
				query: "command=exit&command=a+b&container=nginx&stderr=true&stdin=true&stdout=true&tty=false",
			},
		},
		"ExecWithUID": {
			reason: "the kubelet's longer path names the pod's UID, and it is the right one",
			path:   "/exec/web/front-0/uid-of-front-0/nginx?command=true&output=1&error=1",
			want: want{
				stderr: "nginx [\"true\"] tty=false\n",
				query:  "command=true&container=nginx&stderr=true&stdin=false&stdout=true&tty=false",
			},
		},
		"Attach": {
			reason: "attaching is exec without a command",
			path:   "/attach/web/front-0/nginx?input=1&output=1&error=1",
			stdin:  "typed",
			want: want{
				stdout: "typed", stderr: "nginx [] tty=false\n",
				query: "container=nginx&stderr=true&stdin=true&stdout=true&tty=false",
			},
		},
	}
	for wayName, way := range ways {
		for name, tc := range cases {
			t.Run(wayName+"/"+name, func(t *testing.T) {
				t.Parallel()
				h := newFakeHost(t)
				h.run = echo
				p, _ := startProxy(t, h, nil)
				server := virtualAPI(t, p, way.translates)

				var stdout, stderr bytes.Buffer
				options := remotecommand.StreamOptions{Stdout: &stdout, Stderr: &stderr}
				if tc.stdin != "" {
					options.Stdin = strings.NewReader(tc.stdin)
				}
				err := executor(t, server.URL, tc.path, way.spdy).StreamWithContext(t.Context(), options)
				got := want{stdout: stdout.String(), stderr: stderr.String()}
				if exitError, ok := errors.AsType[exec.CodeExitError](err); ok {
					got.exit = exitError.Code
				} else if err != nil {
					t.Fatalf("%s; %s\nStreamWithContext(...): %v", way.reason, tc.reason, err)
				}
				tc.want.method = http.MethodGet
				if way.spdy || way.translates {
					tc.want.method = http.MethodPost
				}
				requests := h.requests()
				if len(requests) != 1 {
					t.Fatalf("%s\nthe host saw %d requests, want 1", tc.reason, len(requests))
				}
				got.method, got.query = requests[0].Method, requests[0].URL.RawQuery
				if diff := cmp.Diff(tc.want, got, cmp.AllowUnexported(want{})); diff != "" {
					t.Errorf("%s; %s\n-want, +got:\n%s", way.reason, tc.reason, diff)
				}
			})
		}
	}
}

func TestPortForward(t *testing.T) {
	t.Parallel()
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newFakeHost(t)
			p, _ := startProxy(t, h, nil)
			server := virtualAPI(t, p, way.translates)
			u, err := url.Parse(server.URL + "/portForward/web/front-0")
			if err != nil {
				t.Fatal(err)
			}

			conn := dialPortForward(t, u, way.spdy)
			defer func() { _ = conn.Close() }()
			header := http.Header{}
			header.Set("port", "8080")
			header.Set("requestID", "0")
			header.Set("streamType", "error")
			failures, err := conn.CreateStream(header)
			if err != nil {
				t.Fatalf("%s\nCreateStream(error): %v", way.reason, err)
			}
			_ = failures.Close()
			header.Set("streamType", "data")
			data, err := conn.CreateStream(header)
			if err != nil {
				t.Fatalf("%s\nCreateStream(data): %v", way.reason, err)
			}
			if _, err := io.WriteString(data, "ping"); err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(data)
			if err != nil || string(got) != "8080 PING" {
				t.Errorf("%s\ndata stream: want %q, got %q, %v", way.reason, "8080 PING", got, err)
			}
			if message, _ := io.ReadAll(failures); len(message) > 0 {
				t.Errorf("%s\nerror stream: %s", way.reason, message)
			}
		})
	}
}

func dialPortForward(t *testing.T, u *url.URL, spdyToo bool) httpstream.Connection {
	t.Helper()
	config := &rest.Config{Host: u.Host}
	var dialer httpstream.Dialer
	if spdyToo {
		transport, upgrader, err := spdy.RoundTripperFor(config)
		if err != nil {
			t.Fatal(err)
		}
		dialer = spdy.NewDialerForStreaming(upgrader, &http.Client{Transport: transport}, http.MethodPost, u)
	} else {
		var err error
		if dialer, err = portforward.NewSPDYOverWebsocketDialerForStreaming(u, config); err != nil {
			t.Fatal(err)
		}
	}
	conn, _, err := dialer.Dial(portforward.PortForwardProtocolV1Name)
	if err != nil {
		t.Fatalf("cannot open port-forward: %v", err)
	}
	return conn
}

// TestStreamEnds breaks a stream from each side and checks that the other side ends.
// A relay that stayed behind would keep Run from returning.
func TestStreamEnds(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		end    func(h *fakeHost, cancel, stop func())
		// mayFinish is set if the container, whose input ends too, may still report
		// its exit code to the client.
		mayFinish bool
	}{
		"ClientLeaves": {
			reason: "a client that goes away ends the container's input, or it would wait for ever",
			end:    func(_ *fakeHost, cancel, _ func()) { cancel() },
		},
		"HostBreaks": {
			reason: "a host that goes away must not leave the client waiting",
			end:    func(h *fakeHost, _, _ func()) { h.conns.breakAll() },
		},
		"ProxyStops": {
			reason: "a control plane that stops breaks both sides at once",
			end:    func(_ *fakeHost, _, stop func()) { stop() },

			mayFinish: true,
		},
	}
	for wayName, way := range ways {
		for name, tc := range cases {
			t.Run(wayName+"/"+name, func(t *testing.T) {
				t.Parallel()
				h := newFakeHost(t)
				begun, ended := make(signal), make(chan struct{})
				h.run = func(_ context.Context, _ string, _ []string, stdin io.Reader, stdout, _ io.WriteCloser, _ bool) error {
					_, _ = io.WriteString(stdout, "begun")
					_, _ = io.Copy(stdout, stdin)
					close(ended)
					return nil
				}
				p, stop := startProxy(t, h, nil)
				server := virtualAPI(t, p, way.translates)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				input, keepOpen := io.Pipe()
				defer func() { _ = keepOpen.Close() }()

				result := make(chan error, 1)
				go func() {
					result <- executor(t, server.URL, "/attach/web/front-0/nginx?input=1&output=1", way.spdy).
						StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: input, Stdout: begun})
				}()
				receive(t, begun, "the container's first word")
				tc.end(h, cancel, stop)
				receive(t, ended, "the container's input to end")
				err := receive(t, result, "the client to return")
				// A SPDY client takes a connection that breaks for a stream that ends.
				if err == nil && !tc.mayFinish && !way.spdy && !way.translates {
					t.Errorf("%s; %s\nStreamWithContext(...): %v", way.reason, tc.reason, err)
				}
				stop()
			})
		}
	}
}

// TestClientLeavesBeforeTheHostAnswers ends a request that the host has not
// agreed to yet.
func TestClientLeavesBeforeTheHostAnswers(t *testing.T) {
	t.Parallel()
	h := newFakeHost(t)
	asked, left := make(chan struct{}), make(chan struct{})
	h.refuse = func(_ http.ResponseWriter, r *http.Request) {
		close(asked)
		<-r.Context().Done()
		close(left)
	}
	p, _ := startProxy(t, h, nil)
	ctx, cancel := context.WithCancel(t.Context())
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://node-7:10250/exec/web/front-0/nginx?command=sh&output=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Connection", "Upgrade")
	request.Header.Set("Upgrade", "SPDY/3.1")
	client := kubelet(t, p)
	go func() {
		if response, err := client.Do(request); err == nil {
			_ = response.Body.Close()
		}
	}()
	receive(t, asked, "the request to reach the host")
	cancel()
	receive(t, left, "the host to see the client leave")
}

// signal is a writer that closes at the first write.
type signal chan struct{}

// Write implements io.Writer.
func (s signal) Write(b []byte) (int, error) {
	close(s)
	return len(b), nil
}

// receive waits for a value, or for the channel to close.
func receive[T any](t *testing.T, from <-chan T, what string) T {
	t.Helper()
	select {
	case value := <-from:
		return value
	case <-time.After(time.Minute):
		t.Fatalf("waited 10 s for %s", what)
		panic("not reached")
	}
}
