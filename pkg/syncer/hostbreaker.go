package syncer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
)

const (
	// firstProbe and lastProbe bound the pause between two probes of a host that
	// does not answer; it doubles from the one to the other.
	firstProbe = 100 * time.Millisecond
	lastProbe  = 10 * time.Second
	// probeTimeout is how long a probe may take.
	probeTimeout = 5 * time.Second
	// decisionTimeout is how long a failed request waits for the result of a probe. After
	// that, it returns its own error.
	decisionTimeout = time.Second
	// probeValidity is how long a successful probe proves that the host works. Until then,
	// further 503 answers, which webhooks may cause, start no probe.
	probeValidity = time.Second
	// unavailableReads is how many different reads in a row must get a 502, 503 or 504 to trip
	// the breaker, although the host answers probes.
	unavailableReads = 2
	// relapse is the time after a reset in which a new trip continues the backoff of the
	// last one.
	relapse = 10 * time.Second
)

// hostBreaker is a circuit breaker for requests to the host's API server. It trips when the
// server proves to be unreachable. Watches then wait, and all other requests fail at once
// with [errUnreachable]. Only the breaker probes the server until it answers. So an unreachable
// host costs few requests and one line in the log, however many kinds and objects wait.
//
// One failed request proves nothing, because a webhook of the host may answer 503 for one
// object. The breaker then probes the server. An answer to a write never trips it. Answers to
// reads do so if two different reads fail.
type hostBreaker struct {
	clock clock.Clock
	log   logr.Logger
	// onReset is called each time when the host answers again.
	onReset func()
	// mayWrite returns why nothing may be written, nil if it may.
	mayWrite func() error
	// done ends the probes.
	done <-chan struct{}

	mu          sync.Mutex
	reset       chan struct{} // closed while the breaker is not tripped
	cause       error         // nil while it is not tripped
	since       time.Time     // of the trip
	pause       time.Duration // before the next probe of a tripped breaker
	resetAt     time.Time
	decision    chan struct{}   // closed when the running probe has a result, nil if none runs
	answeredAt  time.Time       // of the last successful probe
	unavailable map[string]bool // path, as readOf returns it -> last answered with 502, 503 or 504
}

// errUnreachable is the error of a request while the breaker is tripped.
var errUnreachable = errors.New("host API server unreachable")

func newHostBreaker(c clock.Clock, log logr.Logger, done <-chan struct{}) *hostBreaker {
	reset := make(chan struct{})
	close(reset)
	return &hostBreaker{clock: c, log: log, reset: reset, onReset: func() {}, mayWrite: func() error { return nil }, done: done, unavailable: map[string]bool{}}
}

// whileTripped is what requests do while the breaker is tripped.
type whileTripped int

const (
	failFast whileTripped = iota
	waitForReset
)

// wrap returns a copy of config whose requests pass the breaker. Requests that fail fast are not
// repeated by client-go: the queue of the kind plans the next attempt, and no worker sleeps.
func (b *hostBreaker) wrap(config *rest.Config, mode whileTripped) *rest.Config {
	config = rest.CopyConfig(config)
	config.QPS = -1
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return &breakerTransport{breaker: b, next: next, mode: mode}
	})
	if mode == failFast {
		return AnswerOnce(config)
	}
	return config
}

// tripCause returns why the breaker is tripped, nil if it is not.
func (b *hostBreaker) tripCause() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.cause
}

// state returns a channel that is closed when the breaker is reset, and why it is
// tripped.
func (b *hostBreaker) state() (<-chan struct{}, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.reset, b.cause
}

// trip trips the breaker and probes from then on. The caller holds the lock.
func (b *hostBreaker) trip(cause error, probe func() error) {
	if b.cause != nil {
		return
	}
	if b.pause == 0 || b.clock.Since(b.resetAt) > relapse {
		b.pause = firstProbe
	}
	b.cause, b.since, b.reset = cause, b.clock.Now(), make(chan struct{})
	clear(b.unavailable)
	b.log.Info("Host API server unreachable, syncing paused", "err", cause.Error())
	recordHostUnreachable()
	go b.probeUntilReset(probe)
}

// probeOnce probes the host after a failed request, and trips the breaker if the host does not
// answer. It waits up to decisionTimeout for the result. Requests that fail at the same time
// share one probe.
func (b *hostBreaker) probeOnce(ctx context.Context, failure error, probe func() error) {
	b.mu.Lock()
	if b.cause != nil {
		b.mu.Unlock()
		return
	}
	decision := b.decision
	if decision == nil {
		decision = make(chan struct{})
		b.decision = decision
		go b.decide(decision, failure, probe)
	}
	b.mu.Unlock()
	select {
	case <-decision:
	case <-ctx.Done():
	case <-b.clock.After(decisionTimeout):
	}
}

// decide probes once and records the result.
func (b *hostBreaker) decide(decision chan struct{}, failure error, probe func() error) {
	err := probe()
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil {
		b.trip(failure, probe)
	} else {
		b.answeredAt = b.clock.Now()
	}
	b.decision = nil
	close(decision)
}

// recordAnswer records an answer of the API server itself.
func (b *hostBreaker) recordAnswer() {
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.unavailable)
}

// recordUnavailable records an answer with 502, 503 or 504. It reports whether a probe is needed.
func (b *hostBreaker) recordUnavailable(request *http.Request, cause error, ready func() error) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if request.Method == http.MethodGet {
		// No webhook can have caused the answer to a read.
		b.unavailable[readOf(request.URL.Path)] = true
		if len(b.unavailable) >= unavailableReads {
			b.trip(cause, ready)
			return false
		}
	}
	return b.clock.Since(b.answeredAt) > probeValidity
}

// readOf returns the path of a read, empty for groups that are not built in. Those may be served
// by an aggregated API server that is down, so all of them count as one.
func readOf(path string) string {
	for _, version := range builtInVersions() {
		prefix := "/apis/" + version.String() + "/"
		if version.Group == "" {
			prefix = "/api/" + version.Version + "/"
		}
		if strings.Contains(path, prefix) {
			return path
		}
	}
	return ""
}

// probeUntilReset probes the host until it answers, and resets the breaker then.
func (b *hostBreaker) probeUntilReset(probe func() error) {
	for {
		b.mu.Lock()
		pause := b.pause
		b.pause = min(2*b.pause, lastProbe)
		b.mu.Unlock()
		select {
		case <-b.clock.After(pause):
		case <-b.done:
			return
		}
		err := probe()
		if err == nil {
			break
		}
		b.mu.Lock()
		b.cause = err
		b.mu.Unlock()
	}
	b.mu.Lock()
	b.cause, b.resetAt = nil, b.clock.Now()
	b.log.Info("Host API server reachable again", "duration", b.clock.Since(b.since).Round(time.Millisecond).String())
	close(b.reset)
	b.mu.Unlock()
	recordHostReachable()
	b.onReset()
}

// breakerTransport is a transport behind a breaker.
type breakerTransport struct {
	breaker *hostBreaker
	next    http.RoundTripper
	mode    whileTripped
}

// RoundTrip implements http.RoundTripper.
func (t *breakerTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	err := t.pass(request.Context())
	if err == nil && request.Method != http.MethodGet {
		err = t.breaker.checkWrite()
	}
	if err != nil {
		closeBody(request)
		return nil, err
	}
	countHostRequest(request)
	response, err := checkPage(request)(t.next.RoundTrip(request))
	t.observe(request, response, err)
	return response, err
}

// errStopped is the error of a write after the engine has stopped: another replica
// may lead already.
var errStopped = errors.New("the engine has stopped")

// checkWrite returns why nothing may be written to the host, nil if it may.
func (b *hostBreaker) checkWrite() error {
	select {
	case <-b.done:
		return errStopped
	default:
	}
	if err := b.mayWrite(); err != nil {
		return &onHoldError{err.Error()}
	}
	return nil
}

// pass waits for a tripped breaker or fails.
func (t *breakerTransport) pass(ctx context.Context) error {
	for {
		reset, cause := t.breaker.state()
		if cause == nil {
			return nil
		}
		if t.mode == failFast {
			return fmt.Errorf("%w: %w", errUnreachable, cause)
		}
		select {
		case <-reset:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// observe passes the outcome of a request to the breaker.
func (t *breakerTransport) observe(request *http.Request, response *http.Response, err error) {
	ctx := request.Context()
	lasting := context.WithoutCancel(ctx) // A probe outlives the request.
	probe := func() error { return t.probeAny(lasting, request.URL, versionPath, discoveryPath) }
	switch {
	case err != nil && (errors.Is(err, errThrottled) || errors.Is(ctx.Err(), context.Canceled)):
		// The request was not sent, or the caller gave it up.
	case err != nil:
		// A request that timed out proves nothing: its timeout may have been too short.
		t.breaker.probeOnce(ctx, err, probe)
	case isUnavailable(response.StatusCode):
		cause := fmt.Errorf("it answers %s", response.Status)
		ready := func() error {
			if err := errors.Join(probe(), t.probe(lasting, request.URL, "/readyz")); err != nil {
				return t.repeat(request.Clone(withoutLimit(lasting)), err) // A check may fail for ever on a host that works.
			}
			return nil
		}
		if t.breaker.recordUnavailable(request, cause, ready) {
			t.breaker.probeOnce(ctx, cause, probe)
		}
	default:
		t.breaker.recordAnswer()
	}
}

// closeBody closes the body of a request that is not sent, as a transport must.
func closeBody(request *http.Request) {
	if request.Body != nil {
		_ = request.Body.Close()
	}
}

// isUnavailable reports whether a proxy may have sent the status code because it reaches no API
// server. An API server that does not serve yet sends 503 too.
func isUnavailable(status int) bool {
	return status == http.StatusBadGateway || status == http.StatusServiceUnavailable || status == http.StatusGatewayTimeout
}

// Paths that every API server answers. A proxy may pass only one of them.
const versionPath, discoveryPath = "/version", "/api"

// probeAny probes the paths until one is answered by an API server.
func (t *breakerTransport) probeAny(ctx context.Context, like *url.URL, paths ...string) (err error) {
	for _, path := range paths {
		if err = t.probe(ctx, like, path); !errors.Is(err, errPage) {
			return err
		}
	}
	return err
}

// probe requests a path without credentials. A denial also proves that the server works.
func (t *breakerTransport) probe(ctx context.Context, like *url.URL, path string) error {
	ctx, cancel := context.WithTimeout(withoutLimit(ctx), probeTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, like.Scheme+"://"+like.Host+prefixOf(like.Path)+path, nil)
	if err != nil {
		return err
	}
	response, err := checkPage(request)(t.next.RoundTrip(request)) //nolint:bodyclose // It is closed below.
	if err != nil {
		return err
	}
	_ = response.Body.Close()
	if response.StatusCode >= http.StatusInternalServerError {
		return fmt.Errorf("it answers %s", response.Status)
	}
	return nil
}

// repeat sends the read that has tripped the breaker again. It returns cause unless an API server answers it.
func (t *breakerTransport) repeat(read *http.Request, cause error) error {
	ctx, cancel := context.WithTimeout(read.Context(), probeTimeout)
	defer cancel()
	response, err := checkPage(read)(t.next.RoundTrip(read.WithContext(ctx))) //nolint:bodyclose // It is closed below.
	if err != nil {
		return cause
	}
	_ = response.Body.Close()
	if isUnavailable(response.StatusCode) {
		return cause
	}
	return nil
}

// prefixOf returns the part of a path that a proxy with several API servers adds, empty for none.
func prefixOf(path string) string {
	for _, root := range []string{"/api/", "/apis/"} {
		if prefix, _, ok := strings.Cut(path, root); ok {
			return prefix
		}
	}
	return ""
}
