package syncer

import (
	"context"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"
	clocktesting "k8s.io/utils/clock/testing"
)

// limiterBench is a limiter whose waiting requests the test lets go itself.
type limiterBench struct {
	*HostLimiter
	clock *clocktesting.FakeClock
}

func newLimiterBench(limits HostLimits) *limiterBench {
	c := clocktesting.NewFakeClock(testStart())
	b := &limiterBench{HostLimiter: NewHostLimiter(limits, c), clock: c}
	b.dispatching = true // No goroutine: the test calls grant.
	return b
}

// send sends requests of a priority and returns those that wait.
func (b *limiterBench) send(count int, p priority, size float64) []*waitingRequest {
	var waiting []*waitingRequest
	for range count {
		if w := b.enqueue(p, size); w != nil {
			waiting = append(waiting, w)
		}
	}
	return waiting
}

// countSent returns how many requests were let go.
func countSent(waiting []*waitingRequest) int {
	sent := 0
	for _, w := range waiting {
		select {
		case <-w.ready:
			sent++
		default:
		}
	}
	return sent
}

func TestHostLimiterPace(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		reason string
		limits HostLimits
		size   float64
		send   int
		atOnce int
		after  int // more within a second
	}{
		"BelowTheLimit": {"A tenant that sends little waits never.", HostLimits{RequestsPerSecond: 10, Burst: 20}, 100, 20, 20, 0},
		"Requests":      {"Above the burst the rate counts.", HostLimits{RequestsPerSecond: 10, Burst: 20}, 100, 100, 20, 10},
		"Bytes":         {"So do bytes: two seconds' worth, then the rate.", HostLimits{BytesPerSecond: 1000}, 500, 100, 4, 2},
		"Both":          {"The tighter limit counts.", HostLimits{RequestsPerSecond: 10, Burst: 20, BytesPerSecond: 1000}, 500, 100, 4, 2},
		"BurstOfPods":   {"600 pods are 1200 requests: by default they pass in a second.", HostLimits{RequestsPerSecond: 400, Burst: 800, BytesPerSecond: 16 << 20}, 4096, 1200, 800, 400},
		"Large":         {"A request larger than the bucket passes when it is full.", HostLimits{BytesPerSecond: 1000}, 5000, 2, 1, 0},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newLimiterBench(tc.limits)
			waiting := b.send(tc.send, restPriority, tc.size)
			if got := tc.send - len(waiting); got != tc.atOnce {
				t.Errorf("%s %d pass at once, want %d", tc.reason, got, tc.atOnce)
			}
			for range 100 {
				b.clock.Step(10 * time.Millisecond)
				b.grant()
			}
			if got := countSent(waiting); got != tc.after {
				t.Errorf("%s %d pass in a second, want %d", tc.reason, got, tc.after)
			}
		})
	}
}

func TestHostLimiterPriorities(t *testing.T) {
	t.Parallel()
	b := newLimiterBench(HostLimits{RequestsPerSecond: 16, Burst: 1})
	b.send(1, restPriority, 0)
	var waiting [priorities][]*waitingRequest
	for _, some := range []struct {
		priority priority
		count    int
	}{{deletePriority, 1}, {restPriority, 1}, {statusPriority, 2}, {restPriority, 50}, {deletePriority, 50}} {
		b.clock.Step(time.Millisecond)
		waiting[some.priority] = append(waiting[some.priority], b.send(some.count, some.priority, 0)...)
	}
	for _, want := range []struct {
		reason                string
		deletes, status, rest int
	}{
		{"Deletes come first, and the oldest request of the others gets one of eight.", 7, 0, 1},
		{"Status has waited longer than the rest now.", 14, 1, 1},
		{"It has waited longer still.", 21, 2, 1},
		{"No other status waits.", 28, 2, 2},
	} {
		for range fairShare {
			b.clock.Step(time.Second / 16)
			b.grant()
		}
		deletes, status, rest := countSent(waiting[deletePriority]), countSent(waiting[statusPriority]), countSent(waiting[restPriority])
		if deletes != want.deletes || status != want.status || rest != want.rest {
			t.Errorf("%s Sent %d deletes, %d status, %d rest; want %d, %d, %d", want.reason, deletes, status, rest, want.deletes, want.status, want.rest)
		}
	}
}

// TestHostLimiterStarvesNobody sends requests of all priorities faster than they may pass.
func TestHostLimiterStarvesNobody(t *testing.T) {
	t.Parallel()
	b := newLimiterBench(HostLimits{RequestsPerSecond: 16, Burst: 1})
	b.send(1, restPriority, 0)
	var waiting [priorities][]*waitingRequest
	for range 160 {
		for p := range priorities {
			waiting[p] = append(waiting[p], b.send(1, p, 0)...)
		}
		b.clock.Step(time.Second / 16)
		b.grant()
	}
	for p := range priorities {
		if sent := countSent(waiting[p]); sent < 160/fairShare/3 {
			t.Errorf("Only %d requests of the priority %s were sent", sent, p)
		}
	}
}

func TestHostLimiterWaitEndsWithItsContext(t *testing.T) {
	t.Parallel()
	b := newLimiterBench(HostLimits{RequestsPerSecond: 1, Burst: 1})
	b.send(1, restPriority, 0)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.wait(ctx, restPriority, 0); !errors.Is(err, errThrottled) || !errors.Is(err, context.Canceled) {
		t.Errorf("A request that gives up was throttled, got %v", err)
	}
	if got := b.countWaiting(); got != 0 {
		t.Errorf("It must leave the queue, %d wait", got)
	}
	if err := b.wait(withoutLimit(ctx), restPriority, 0); err != nil {
		t.Errorf("A probe does not wait: %v", err)
	}
}

func TestHostLimiterLetsWaitingRequestsGo(t *testing.T) {
	t.Parallel()
	c := clocktesting.NewFakeClock(testStart())
	l := NewHostLimiter(HostLimits{RequestsPerSecond: 1, Burst: 1}, c)
	sent := make(chan error)
	for range 3 {
		go func() { sent <- l.wait(t.Context(), restPriority, 0) }()
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for done := false; !done; {
			select {
			case err := <-sent:
				if err != nil {
					t.Fatal(err)
				}
				done = true
			default:
				c.Step(100 * time.Millisecond)
			}
		}
	}
	if passed := c.Since(testStart()); passed < 2*time.Second {
		t.Errorf("Three requests at one a second take two seconds, got %s", passed)
	}
}

func TestHostLimiterPriorityOf(t *testing.T) {
	t.Parallel()
	for call, want := range map[string]priority{
		"DELETE /api/v1/namespaces/a/pods/b":        deletePriority,
		"PATCH /api/v1/namespaces/a/pods/b/status":  statusPriority,
		"POST /api/v1/namespaces/a/pods":            restPriority,
		"GET /api/v1/namespaces/a/pods?watch=true":  restPriority,
		"PATCH /api/v1/namespaces/a/pods/b/resize":  restPriority,
		"PUT /apis/apps/v1/namespaces/a/x/b/status": statusPriority,
	} {
		var method, path string
		for i, r := range call {
			if r == ' ' {
				method, path = call[:i], call[i+1:]
				break
			}
		}
		request, err := http.NewRequestWithContext(t.Context(), method, "http://host.test"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := priorityOf(request); got != want {
			t.Errorf("%s has priority %s, want %s", call, got, want)
		}
	}
}

// TestHostLimiterCountsBodiesOfUnknownLength sends a body whose length is not known before. The next request waits
// until it is paid for.
func TestHostLimiterCountsBodiesOfUnknownLength(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	t.Cleanup(server.Close)
	for name, length := range map[string]int64{"Unknown": -1, "NotSet": 0, "Known": 5000} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newLimiterBench(HostLimits{BytesPerSecond: 1000})
			body := io.NopCloser(strings.NewReader(strings.Repeat("a", 5000)))
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, body)
			if err != nil {
				t.Fatal(err)
			}
			request.ContentLength = length
			response, err := (&limitedTransport{limiter: b.HostLimiter, next: http.DefaultTransport}).RoundTrip(request)
			if err != nil {
				t.Fatal(err)
			}
			_ = response.Body.Close()
			waiting := b.send(1, restPriority, 1)
			b.clock.Step(3 * time.Second) // A bucket of 2000 bytes is 3000 short.
			b.grant()
			if len(waiting) != 1 || countSent(waiting) != 0 {
				t.Errorf("%d requests wait, and %d are sent before the body is paid for", len(waiting), countSent(waiting))
			}
			b.clock.Step(100 * time.Millisecond)
			b.grant()
			if countSent(waiting) != 1 {
				t.Error("The next request is not sent when the body is paid for")
			}
		})
	}
}

// TestStreamsFindTheTLSSettings looks through the limiter for the authority of the host,
// as a stream of the node proxy does.
func TestStreamsFindTheTLSSettings(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	config := &rest.Config{Host: server.URL, TLSClientConfig: rest.TLSClientConfig{CAData: authority}}
	limiter := NewHostLimiter(HostLimits{RequestsPerSecond: 1, Burst: 1}, clocktesting.NewFakeClock(testStart()))
	transport, err := rest.TransportFor(limiter.Wrap(config))
	if err != nil {
		t.Fatal(err)
	}
	found, err := utilnet.TLSClientConfig(transport)
	if err != nil || found == nil || found.RootCAs == nil {
		t.Errorf("got %v, %v, want a TLS configuration with the authority of the host", found, err)
	}
}

// TestDelayRecord sends requests that wait for the limit and one that does not.
func TestDelayRecord(t *testing.T) {
	t.Parallel()
	b := newLimiterBench(HostLimits{RequestsPerSecond: 1, Burst: 1})
	var first, second atomic.Bool
	if err := b.wait(WithDelayRecord(t.Context(), &first), restPriority, 0); err != nil || first.Load() {
		t.Errorf("A request within the limit is not delayed, got %t and %v", first.Load(), err)
	}
	ctx, cancel := context.WithCancel(WithDelayRecord(t.Context(), &second))
	cancel()
	if err := b.wait(ctx, restPriority, 0); err == nil || !second.Load() {
		t.Errorf("A request above the limit is delayed, got %t and %v", second.Load(), err)
	}
}
