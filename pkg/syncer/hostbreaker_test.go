package syncer

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
)

// roundTripper is a transport made of a function.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// breakerBench is a gate before a host that is there or not, as the test likes.
type breakerBench struct {
	breaker  *hostBreaker
	away     atomic.Bool
	reached  atomic.Int32
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
		b.reached.Add(1)
		if b.away.Load() {
			return nil, errors.New("connection refused")
		}
		return &http.Response{StatusCode: http.StatusForbidden, Body: io.NopCloser(strings.NewReader("no")), Request: r}, nil
	})}
	b.requests, b.watches = b.breaker.wrap(host, false), b.breaker.wrap(host, true)
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
	if err := get(t, b.requests); err == nil || b.breaker.tripCause() == nil {
		t.Fatal("A host that cannot be reached must shut the gate")
	}
	reached := b.reached.Load()
	for range 100 {
		if err := get(t, b.requests); !errors.Is(err, errUnreachable) {
			t.Fatalf("A request before a shut gate must say so, got %v", err)
		}
	}
	if more := b.reached.Load() - reached; more > 5 {
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
	c, err := rest.HTTPClientFor(g.wrap(&rest.Config{Host: server.URL}, false))
	if err != nil {
		t.Fatal(err)
	}
	response, err := c.Get(server.URL) //nolint:noctx // a test server
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if g.tripCause() == nil {
		t.Error("An answer of whoever stands before the API server must shut the gate")
	}
	serving.Store(true)
	<-opened
}

func TestHostBreakerDoubtsARequestWithoutTime(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		reason string
		there  bool
	}{
		"TooLittleTime": {"A host that answers is there, however little time a request had.", true},
		"Silent":        {"A host that does not answer is away.", false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newHostBreaker(clock.RealClock{}, funcr.New(func(_, _ string) {}, funcr.Options{}), t.Context().Done())
			asked := make(chan struct{})
			var once sync.Once
			host := &rest.Config{Host: "http://host.test", Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
				if r.URL.Path != "/version" {
					<-r.Context().Done()
					return nil, r.Context().Err()
				}
				defer once.Do(func() { close(asked) })
				if !tc.there {
					return nil, errors.New("no route to host")
				}
				return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Request: r}, nil
			})}
			c, err := rest.HTTPClientFor(g.wrap(host, false))
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			defer cancel()
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://host.test/api/v1/pods", nil)
			if err != nil {
				t.Fatal(err)
			}
			if response, err := c.Do(request); err == nil {
				_ = response.Body.Close()
				t.Fatal("The request must run out of time")
			}
			<-asked
			for g.isProbing() {
				time.Sleep(time.Millisecond)
			}
			if shut := g.tripCause() != nil; shut == tc.there {
				t.Errorf("%s Shut: %t", tc.reason, shut)
			}
		})
	}
}

// isProbing says that the gate is in doubt.
func (g *hostBreaker) isProbing() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.probing
}
