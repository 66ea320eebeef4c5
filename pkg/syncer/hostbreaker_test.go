package syncer

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
)

// roundTripper is a transport made of a function.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// breakerBench is a gate before a host that is there or not, as the test likes.
type breakerBench struct {
	breaker  *hostBreaker
	away     atomic.Bool
	reached  atomic.Int32 // requests that are no probes
	onReset  chan struct{}
	lines    atomic.Int32
	requests *rest.Config
	watches  *rest.Config
}

func newBreakerBench(t *testing.T) *breakerBench {
	t.Helper()
	b := &breakerBench{onReset: make(chan struct{}, 8)}
	log := funcr.New(func(_, args string) { b.lines.Add(1) }, funcr.Options{})
	b.breaker = newHostBreaker(clock.RealClock{}, log, t.Context().Done())
	b.breaker.onReset = func() { b.onReset <- struct{}{} }
	host := &rest.Config{Host: "http://host.test", Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		if r.URL.Path != "/version" {
			b.reached.Add(1)
		}
		if b.away.Load() {
			return nil, errors.New("connection refused")
		}
		return &http.Response{StatusCode: http.StatusForbidden, Body: io.NopCloser(strings.NewReader("no")), Request: r}, nil
	})}
	b.requests, b.watches = b.breaker.wrap(host, failFast), b.breaker.wrap(host, waitForReset)
	return b
}

// get sends one request.
func get(t *testing.T, config *rest.Config) error {
	t.Helper()
	c, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://host.test/api/v1/pods", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := c.Do(request)
	if err == nil {
		_ = response.Body.Close()
	}
	return err
}

func TestHostBreaker(t *testing.T) {
	t.Parallel()
	b := newBreakerBench(t)
	if err := get(t, b.requests); err != nil {
		t.Fatalf("A host that answers no at least answers: %v", err)
	}
	b.away.Store(true)
	err := get(t, b.requests)
	b.breaker.awaitDecision()
	if err == nil || b.breaker.tripCause() == nil {
		t.Fatal("A host that cannot be reached must trip the breaker")
	}
	reached := b.reached.Load()
	for range 100 {
		if err := get(t, b.requests); !errors.Is(err, errUnreachable) {
			t.Fatalf("A request before a shut gate must say so, got %v", err)
		}
	}
	if more := b.reached.Load() - reached; more > 0 {
		t.Errorf("Requests must not pass a shut gate, %d did", more)
	}
	watch := make(chan error, 1)
	go func() { watch <- get(t, b.watches) }()
	select {
	case err := <-watch:
		t.Fatalf("A watch must wait before a shut gate, it ended with %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	b.away.Store(false)
	if err := <-watch; err != nil {
		t.Errorf("A watch must go on when the host is back: %v", err)
	}
	<-b.onReset
	if err := get(t, b.requests); err != nil {
		t.Errorf("Requests must pass again: %v", err)
	}
	if lines := b.lines.Load(); lines != 2 {
		t.Errorf("One line for going, one for coming back, got %d", lines)
	}
}

func TestHostBreakerTakesABalancerForNoHost(t *testing.T) {
	t.Parallel()
	var serving atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !serving.Load() {
			w.WriteHeader(http.StatusBadGateway)
		}
	}))
	defer server.Close()
	g := newHostBreaker(clock.RealClock{}, funcr.New(func(_, _ string) {}, funcr.Options{}), t.Context().Done())
	opened := make(chan struct{})
	g.onReset = func() { close(opened) }
	c, err := rest.HTTPClientFor(g.wrap(&rest.Config{Host: server.URL}, failFast))
	if err != nil {
		t.Fatal(err)
	}
	response, err := c.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	g.awaitDecision()
	if g.tripCause() == nil {
		t.Error("An answer of a proxy before the API server must trip the breaker if the probe fails too")
	}
	serving.Store(true)
	<-opened
}

func TestHostBreakerProbesBeforeItTrips(t *testing.T) {
	t.Parallel()
	answer := func(status int) *http.Response {
		return &http.Response{StatusCode: status, Status: http.StatusText(status), Body: http.NoBody}
	}
	type call struct{ method, path string }
	tests := map[string]struct {
		reason string
		calls  []call
		// host answers a request; nil is an error of the transport.
		host    func(r *http.Request) *http.Response
		tripped bool
	}{
		"OneWrite503": {
			reason: "A webhook that answers 503 for one object must not pause the syncing of all.",
			calls:  []call{{"POST", "/api/v1/pods"}, {"POST", "/api/v1/pods"}, {"PATCH", "/api/v1/pods/a"}, {"DELETE", "/api/v1/pods/b"}},
			host: func(r *http.Request) *http.Response {
				if r.URL.Path == "/version" {
					return answer(200)
				}
				return answer(503)
			},
		},
		"OneRead503": {
			reason: "One type may be served by somebody who is away.",
			calls:  []call{{"GET", "/apis/x/v1/things"}, {"GET", "/apis/x/v1/things"}},
			host: func(r *http.Request) *http.Response {
				if r.URL.Path == "/version" {
					return answer(200)
				}
				return answer(503)
			},
		},
		"AggregatedAPI503": {
			reason: "Several types of one API that is away must not pause the syncing of all.",
			calls:  []call{{"GET", "/apis/x.example.com/v1/things"}, {"GET", "/apis/x.example.com/v1/namespaces/a/things/b"}, {"GET", "/apis/y.example.com/v1/others"}},
			host: func(r *http.Request) *http.Response {
				if r.URL.Path == "/version" {
					return answer(200)
				}
				return answer(503)
			},
		},
		"SeveralReads503": {
			reason: "An API server without its store answers probes and nothing else.",
			calls:  []call{{"GET", "/api/v1/pods"}, {"GET", "/api/v1/secrets"}},
			host: func(r *http.Request) *http.Response {
				if r.URL.Path == "/version" {
					return answer(200)
				}
				return answer(503)
			},
			tripped: true,
		},
		"ReadsBetween": {
			reason: "An answer in between proves that the server is there.",
			calls:  []call{{"GET", "/api/v1/pods"}, {"GET", "/good"}, {"GET", "/api/v1/secrets"}},
			host: func(r *http.Request) *http.Response {
				if r.URL.Path == "/version" || r.URL.Path == "/good" {
					return answer(401)
				}
				return answer(502)
			},
		},
		"BalancerWithoutServer": {
			reason: "A balancer answers for a server that is away: the probe fails too.",
			calls:  []call{{"POST", "/api/v1/pods"}},
			host:   func(*http.Request) *http.Response { return answer(502) }, tripped: true,
		},
		"BrokenConnection": {
			reason: "A connection that breaks proves nothing if the next one works.",
			calls:  []call{{"POST", "/api/v1/pods"}},
			host: func(r *http.Request) *http.Response {
				if r.URL.Path == "/version" {
					return answer(401)
				}
				return nil
			},
		},
		"NoConnection": {
			reason: "No connection at all is an absent server.",
			calls:  []call{{"POST", "/api/v1/pods"}},
			host:   func(*http.Request) *http.Response { return nil }, tripped: true,
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newHostBreaker(clock.RealClock{}, silent(), t.Context().Done())
			transport := &breakerTransport{breaker: b, next: roundTripper(func(r *http.Request) (*http.Response, error) {
				if response := tc.host(r); response != nil {
					return response, nil
				}
				return nil, errors.New("connection refused")
			})}
			for _, c := range tc.calls {
				request, err := http.NewRequestWithContext(t.Context(), c.method, "http://host.test"+c.path, nil)
				if err != nil {
					t.Fatal(err)
				}
				response, err := transport.RoundTrip(request)
				if err == nil {
					_ = response.Body.Close()
				}
			}
			b.awaitDecision()
			if got := b.tripCause() != nil; got != tc.tripped {
				t.Errorf("%s Tripped: %t, %v", tc.reason, got, b.tripCause())
			}
		})
	}
}

func TestHostBreakerProbesARequestWithoutTime(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		reason  string
		answers bool
	}{
		"TooLittleTime": {"A host that answers is there, however little time a request had.", true},
		"Silent":        {"A host that does not answer is away.", false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newHostBreaker(clock.RealClock{}, silent(), t.Context().Done())
			transport := &breakerTransport{breaker: b, next: roundTripper(func(r *http.Request) (*http.Response, error) {
				if r.URL.Path != "/version" {
					<-r.Context().Done()
					return nil, r.Context().Err()
				}
				if !tc.answers {
					return nil, errors.New("no route to host")
				}
				return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Request: r}, nil
			})}
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			defer cancel()
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://host.test/api/v1/pods", nil)
			if err != nil {
				t.Fatal(err)
			}
			if response, err := transport.RoundTrip(request); err == nil {
				_ = response.Body.Close()
				t.Fatal("The request must run out of time")
			}
			b.awaitDecision()
			if tripped := b.tripCause() != nil; tripped == tc.answers {
				t.Errorf("%s Tripped: %t", tc.reason, tripped)
			}
		})
	}
}

// awaitDecision waits for the probe under way. A request waits for it only for a moment, which
// may be too short on a busy machine.
func (b *hostBreaker) awaitDecision() {
	b.mu.Lock()
	decision := b.decision
	b.mu.Unlock()
	if decision != nil {
		<-decision
	}
}

// closeRecorder is a body that records that it was closed.
type closeRecorder struct {
	io.Reader
	closed bool
}

func (c *closeRecorder) Close() error {
	c.closed = true
	return nil
}

func TestRequestThatIsNotSentHasItsBodyClosed(t *testing.T) {
	t.Parallel()
	c := clocktesting.NewFakeClock(testStart())
	b := newHostBreaker(c, silent(), t.Context().Done())
	b.cause = errors.New("away")
	full := NewHostLimiter(HostLimits{RequestsPerSecond: 1, Burst: 1}, c)
	full.requests = 0
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, transport := range map[string]http.RoundTripper{
		"Breaker": &breakerTransport{breaker: b}, "Limiter": &limitedTransport{limiter: full},
	} {
		body := &closeRecorder{Reader: strings.NewReader("{}")}
		request, err := http.NewRequestWithContext(ended, http.MethodPost, "http://host.test/api/v1/pods", body)
		if err != nil {
			t.Fatal(err)
		}
		if response, err := transport.RoundTrip(request); err == nil {
			_ = response.Body.Close()
			t.Errorf("%s: the request must fail", name)
		}
		if !body.closed {
			t.Errorf("%s: a transport must close the body of a request", name)
		}
	}
}

func TestParkedKeysAreSpreadWhenTheHostIsBack(t *testing.T) {
	t.Parallel()
	b := newRunnerBench(t)
	const parked = 101
	for i := range parked {
		b.parked[types.NamespacedName{Namespace: "web", Name: strconv.Itoa(i)}] = true
	}
	b.requeueParked()
	if got := b.queue.Len(); got != b.workers.limit {
		t.Errorf("As many keys as there are workers start at once, got %d", got)
	}
	if got := len(b.pendingSince); got != parked {
		t.Errorf("The latency of all keys counts from now on, got %d", got)
	}
}

// TestHostBreakerResetsWithoutReadyz checks that a host which answers reads is used, whatever its own checks find.
func TestHostBreakerResetsWithoutReadyz(t *testing.T) {
	t.Parallel()
	var away atomic.Bool
	away.Store(true)
	b := newHostBreaker(clock.RealClock{}, silent(), t.Context().Done())
	reset := make(chan struct{}, 1)
	b.onReset = func() { reset <- struct{}{} }
	transport := &breakerTransport{breaker: b, next: roundTripper(func(r *http.Request) (*http.Response, error) {
		status := http.StatusOK
		switch {
		case r.URL.Path == "/readyz":
			status = http.StatusInternalServerError
		case r.URL.Path != versionPath && away.Load():
			status = http.StatusServiceUnavailable
		}
		return &http.Response{StatusCode: status, Status: http.StatusText(status), Body: http.NoBody, Request: r}, nil
	})}
	for _, path := range []string{"/api/v1/pods", "/api/v1/secrets"} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://host.test"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if response, err := transport.RoundTrip(request); err == nil {
			_ = response.Body.Close()
		}
	}
	if b.tripCause() == nil {
		t.Fatal("the breaker does not trip")
	}
	away.Store(false)
	select {
	case <-reset:
	case <-time.After(awaitTimeout):
		t.Error("the host answers reads, and syncing is still paused")
	}
}
