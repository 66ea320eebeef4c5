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
	// decisionTimeout is how long a failed request waits for the result of a probe.
	decisionTimeout = time.Second
	// probeValidity is how long a successful probe answers for the host, if requests
	// are answered with errors that may come from elsewhere.
	probeValidity = time.Second
	// unavailableReads is how many different reads in a row must be answered with
	// unavailable before the host counts as away, although it answers probes.
	unavailableReads = 2
	// relapse is the time after a reset in which a new trip continues with the pause
	// of the last one.
	relapse = 10 * time.Second
)

// hostBreaker is a circuit breaker before the host's API server. It trips when the
// server is proven to be away. Watches then wait, and everything else fails at once
// with [errUnreachable]. The breaker alone probes the server until it answers. So a
// host that is away costs one request now and then and one line in the log, however
// many kinds and objects wait.
//
// One failed request proves nothing: a webhook of the host may answer 503 for one
// object. The breaker then probes. A write never trips it by its answer, a read
// only together with another one.
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
	decision    chan struct{}   // closed when the probe under way has its result, nil if there is none
	answeredAt  time.Time       // of the last successful probe
	unavailable map[string]bool // what readOf returns -> true
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

// wrap returns a copy of config whose requests pass the breaker.
func (b *hostBreaker) wrap(config *rest.Config, mode whileTripped) *rest.Config {
	config = rest.CopyConfig(config)
	config.QPS = -1
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return &breakerTransport{breaker: b, next: next, mode: mode}
	})
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
	setHostUnreachable(true)
	go b.probeUntilReset(probe)
}

// probeOnce probes the host because of a doubt, and trips the breaker if it does
// not answer. It waits for the result for a moment. Requests that fail at the
// same time share one probe.
func (b *hostBreaker) probeOnce(ctx context.Context, doubt error, probe func() error) {
	b.mu.Lock()
	if b.cause != nil {
		b.mu.Unlock()
		return
	}
	decision := b.decision
	if decision == nil {
		decision = make(chan struct{})
		b.decision = decision
		go b.decide(decision, doubt, probe)
	}
	b.mu.Unlock()
	select {
	case <-decision:
	case <-ctx.Done():
	case <-b.clock.After(decisionTimeout):
	}
}

// decide probes once and records the result.
func (b *hostBreaker) decide(decision chan struct{}, doubt error, probe func() error) {
	err := probe()
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil {
		b.trip(doubt, probe)
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

// recordUnavailable records that a request was answered with unavailable. It
// reports whether a probe is needed.
func (b *hostBreaker) recordUnavailable(request *http.Request, cause error, ready func() error) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if request.Method == http.MethodGet {
		// No webhook has a say in a read.
		b.unavailable[readOf(request.URL.Path)] = true
		if len(b.unavailable) >= unavailableReads {
			b.trip(cause, ready)
			return false
		}
	}
	return b.clock.Since(b.answeredAt) > probeValidity
}

// readOf returns the path of a read, empty for groups that are not built in. An aggregated
// API may serve those and be away, so that all of them count as one.
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
	setHostUnreachable(false)
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
	response, err := t.next.RoundTrip(request)
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

// observe lets the breaker learn from the outcome of a request.
func (t *breakerTransport) observe(request *http.Request, response *http.Response, err error) {
	ctx := request.Context()
	lasting := context.WithoutCancel(ctx) // A probe outlives the request.
	probe := func() error { return t.probe(lasting, request.URL, "/version") }
	switch {
	case errors.Is(err, errThrottled):
	case err != nil && ctx.Err() == nil, errors.Is(ctx.Err(), context.DeadlineExceeded) && err != nil:
		// A request that ran out of time may have had too little of it.
		t.breaker.probeOnce(ctx, err, probe)
	case err != nil:
	case isUnavailable(response.StatusCode):
		cause := fmt.Errorf("it answers %s", response.Status)
		ready := func() error {
			return errors.Join(t.probe(lasting, request.URL, "/version"), t.probe(lasting, request.URL, "/readyz"))
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

// isUnavailable reports whether an answer may come from a proxy before the API
// server, or from one that does not serve yet.
func isUnavailable(status int) bool {
	return status == http.StatusBadGateway || status == http.StatusServiceUnavailable || status == http.StatusGatewayTimeout
}

// probe asks the API server for a path without credentials. A denial is an answer
// too.
func (t *breakerTransport) probe(ctx context.Context, like *url.URL, path string) error {
	ctx, cancel := context.WithTimeout(withoutLimit(ctx), probeTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, like.Scheme+"://"+like.Host+path, nil)
	if err != nil {
		return err
	}
	response, err := t.next.RoundTrip(request)
	if err != nil {
		return err
	}
	_ = response.Body.Close()
	if response.StatusCode >= http.StatusInternalServerError {
		return fmt.Errorf("it answers %s", response.Status)
	}
	return nil
}
