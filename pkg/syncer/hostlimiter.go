package syncer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
)

// HostLimits bound what one virtual cluster sends to the host's API server. The
// zero value is no limit. A pod costs two requests.
type HostLimits struct {
	// RequestsPerSecond is the rate of requests. 0 is no limit.
	RequestsPerSecond float64
	// Burst is how many requests may be sent at once. Default: two seconds' worth.
	Burst int
	// BytesPerSecond is the rate of bytes in the bodies of requests, two seconds'
	// worth of which may be sent at once. 0 is no limit.
	BytesPerSecond int64
}

// priority is the order in which waiting requests are sent.
type priority int

const (
	// deletePriority comes first, because deletes free resources of the host.
	deletePriority priority = iota
	statusPriority
	restPriority
	priorities
)

// String returns the name of the priority in metrics.
func (p priority) String() string { return [...]string{"delete", "status", "rest"}[p] }

// fairShare prevents starvation: one of this many requests is taken from below the highest priority that has
// a waiting request. It is the one that has waited longest, so each of them is sent in the end.
const fairShare = 8

// errThrottled is the error of a request that ran out of time before the limit let
// it pass. It was not sent.
var errThrottled = errors.New("cannot send request within the host limits in time")

// HostLimiter limits the requests of a process to the host, with token buckets of requests and
// bytes. Requests above the limit wait in order of priority. All host clients of the process whose
// requests a tenant can trigger must share one limiter.
type HostLimiter struct {
	limits HostLimits
	clock  clock.Clock

	mu          sync.Mutex
	requests    float64 // that may be sent now
	bytes       float64 // that may be sent now; negative after a large request
	refilled    time.Time
	waiting     [priorities][]*waitingRequest
	granted     int
	dispatching bool
	// abandoned has an element if a request has given up since dispatch last looked.
	abandoned chan struct{}
}

// waitingRequest is a request that waits for the limit.
type waitingRequest struct {
	size  float64
	since time.Time
	ready chan struct{}
}

// NewHostLimiter returns a limiter with full buckets.
func NewHostLimiter(limits HostLimits, c clock.Clock) *HostLimiter {
	if limits.Burst == 0 {
		limits.Burst = max(int(2*limits.RequestsPerSecond), 1)
	}
	return &HostLimiter{
		limits: limits, clock: c, refilled: c.Now(),
		requests: float64(limits.Burst), bytes: limits.byteBurst(), abandoned: make(chan struct{}, 1),
	}
}

// byteBurst returns how many bytes may be sent at once.
func (l HostLimits) byteBurst() float64 { return 2 * float64(l.BytesPerSecond) }

// Wrap returns a copy of config whose requests the limiter delays. client-go's own
// limit is lifted.
func (l *HostLimiter) Wrap(config *rest.Config) *rest.Config {
	config = rest.CopyConfig(config)
	config.QPS = -1
	if l.limits.RequestsPerSecond <= 0 && l.limits.BytesPerSecond <= 0 {
		return config
	}
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return &limitedTransport{limiter: l, next: next}
	})
	return config
}

// limitedTransport is a transport behind a limiter.
type limitedTransport struct {
	limiter *HostLimiter
	next    http.RoundTripper
}

// WrappedRoundTripper returns the transport behind the limiter. The node proxy finds the
// TLS settings for its streams there.
func (t *limitedTransport) WrappedRoundTripper() http.RoundTripper { return t.next }

// RoundTrip implements http.RoundTripper.
func (t *limitedTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	if err := t.limiter.wait(request.Context(), priorityOf(request), max(request.ContentLength, 0)); err != nil {
		closeBody(request)
		return nil, err
	}
	return t.next.RoundTrip(t.limiter.countUnknown(request))
}

// countUnknown returns a request whose body is counted when it is sent, if its length is not known before. Then
// the next requests wait for what the body took.
func (l *HostLimiter) countUnknown(request *http.Request) *http.Request {
	if request.Body == nil || request.Body == http.NoBody || request.ContentLength > 0 {
		return request
	}
	request = request.Clone(request.Context())
	request.Body = &countedBody{request.Body, l}
	if again := request.GetBody; again != nil {
		request.GetBody = func() (io.ReadCloser, error) {
			body, err := again()
			if err != nil {
				return nil, err
			}
			return &countedBody{body, l}, nil
		}
	}
	return request
}

// countedBody takes the tokens of a request body while the body is read.
type countedBody struct {
	io.ReadCloser

	limiter *HostLimiter
}

// Read implements io.Reader.
func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.limiter.charge(n)
	return n, err
}

// charge takes the tokens of bytes that were sent without waiting for them.
func (l *HostLimiter) charge(size int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refill()
	l.bytes -= float64(size)
}

// limitKey is the context key of requests that are not limited.
type limitKey struct{}

// withoutLimit returns a context whose requests are not limited. A probe must not wait behind
// the requests that fail.
func withoutLimit(ctx context.Context) context.Context {
	return context.WithValue(ctx, limitKey{}, true)
}

// delayKey is the context key of the record of [WithDelayRecord].
type delayKey struct{}

// WithDelayRecord returns a context whose requests set delayed if they wait for the limit. A tenant can cause that. So
// a delayed request that runs out of time proves nothing about the host, even if it was sent in the end.
func WithDelayRecord(ctx context.Context, delayed *atomic.Bool) context.Context {
	return context.WithValue(ctx, delayKey{}, delayed)
}

// priorityOf returns the priority of a request.
func priorityOf(request *http.Request) priority {
	switch {
	case request.Method == http.MethodDelete:
		return deletePriority
	case strings.HasSuffix(request.URL.Path, "/status"):
		return statusPriority
	default:
		return restPriority
	}
}

// wait returns when a request of size bytes may be sent, or when ctx ends.
func (l *HostLimiter) wait(ctx context.Context, p priority, size int64) error {
	if ctx.Value(limitKey{}) != nil {
		return nil
	}
	w := l.enqueue(p, float64(size))
	if w == nil {
		return nil
	}
	if delayed, ok := ctx.Value(delayKey{}).(*atomic.Bool); ok {
		delayed.Store(true)
	}
	processMetrics().throttled.WithLabelValues(p.String()).Inc()
	defer func() {
		processMetrics().throttleSeconds.WithLabelValues(p.String()).Add(l.clock.Since(w.since).Seconds())
	}()
	select {
	case <-w.ready:
		return nil
	case <-ctx.Done():
		l.abandon(p, w)
		return fmt.Errorf("%w: %w", errThrottled, ctx.Err())
	}
}

// enqueue takes the tokens of a request, or queues it and returns what to wait for.
func (l *HostLimiter) enqueue(p priority, size float64) *waitingRequest {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refill()
	if l.countWaiting() == 0 && l.take(size) {
		return nil
	}
	w := &waitingRequest{size: size, since: l.clock.Now(), ready: make(chan struct{})}
	l.waiting[p] = append(l.waiting[p], w)
	processMetrics().throttleWaiting.Inc()
	if !l.dispatching {
		l.dispatching = true
		go l.dispatch()
	}
	return w
}

// abandon removes a request whose context has ended from its queue.
func (l *HostLimiter) abandon(p priority, w *waitingRequest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.Index(l.waiting[p], w); i >= 0 {
		l.waiting[p] = slices.Delete(l.waiting[p], i, i+1)
		processMetrics().throttleWaiting.Dec()
	}
	select {
	case l.abandoned <- struct{}{}:
	default: // dispatch is about to look
	}
}

// dispatch grants waiting requests until none is left.
func (l *HostLimiter) dispatch() {
	for {
		pause, ok := l.grant()
		if !ok {
			return
		}
		select {
		case <-l.clock.After(pause):
		case <-l.abandoned:
		}
	}
}

// grant releases all waiting requests for which there are tokens. It returns the time until
// the next one may be released. ok is false if none waits.
func (l *HostLimiter) grant() (pause time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refill()
	for l.countWaiting() > 0 {
		queue := l.nextQueue()
		w := l.waiting[queue][0]
		if !l.take(w.size) {
			return l.timeFor(w.size), true
		}
		l.waiting[queue] = l.waiting[queue][1:]
		l.granted++
		processMetrics().throttleWaiting.Dec()
		close(w.ready)
	}
	l.dispatching = false
	return 0, false
}

// nextQueue returns the priority that is served next. The caller holds the lock,
// and knows that a request waits.
func (l *HostLimiter) nextQueue() priority {
	first, oldest := priorities, priorities
	for p := range priorities {
		switch {
		case len(l.waiting[p]) == 0:
		case first == priorities:
			first = p
		case oldest == priorities || !l.waiting[p][0].since.After(l.waiting[oldest][0].since):
			oldest = p
		}
	}
	if oldest != priorities && l.granted%fairShare == fairShare-1 {
		return oldest
	}
	return first
}

// countWaiting returns how many requests wait. The caller holds the lock.
func (l *HostLimiter) countWaiting() int {
	count := 0
	for _, queue := range l.waiting {
		count += len(queue)
	}
	return count
}

// refill adds the tokens of the time since the last refill. The caller holds the
// lock.
func (l *HostLimiter) refill() {
	now := l.clock.Now()
	passed := now.Sub(l.refilled).Seconds()
	l.refilled = now
	l.requests = min(l.requests+passed*l.limits.RequestsPerSecond, float64(l.limits.Burst))
	l.bytes = min(l.bytes+passed*float64(l.limits.BytesPerSecond), l.limits.byteBurst())
}

// rounding is the tolerance for sums of fractions of a token.
const rounding = 1e-6

// take takes the tokens of a request and reports whether there were enough. A request that is
// larger than the bucket passes when the bucket is full, and leaves it negative. The caller
// holds the lock.
func (l *HostLimiter) take(size float64) bool {
	if l.limits.RequestsPerSecond > 0 && l.requests < 1-rounding {
		return false
	}
	if l.limits.BytesPerSecond > 0 && l.bytes < min(size, l.limits.byteBurst())-rounding {
		return false
	}
	l.requests--
	l.bytes -= size
	return true
}

// minPause is the shortest time that dispatch sleeps.
const minPause = time.Millisecond

// timeFor returns the time until there are enough tokens for a request. The caller holds the
// lock.
func (l *HostLimiter) timeFor(size float64) time.Duration {
	seconds := 0.0
	if l.limits.RequestsPerSecond > 0 {
		seconds = max(seconds, (1-l.requests)/l.limits.RequestsPerSecond)
	}
	if l.limits.BytesPerSecond > 0 {
		seconds = max(seconds, (min(size, l.limits.byteBurst())-l.bytes)/float64(l.limits.BytesPerSecond))
	}
	return max(time.Duration(seconds*float64(time.Second)), minPause)
}
