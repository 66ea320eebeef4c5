package syncer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
)

const (
	// firstProbe and lastProbe are the shortest and the longest time between two
	// looks at a host that cannot be reached.
	firstProbe = 100 * time.Millisecond
	lastProbe  = 10 * time.Second
	// probeTimeout is how long a look may take.
	probeTimeout = 5 * time.Second
)

// hostBreaker stands before the host's API server. When a request does not get there,
// the gate shuts: watches wait in front of it, everything else fails at once
// with [errUnreachable], and the gate alone goes on asking until there is an
// answer. So a host that is away costs one request now and then and one line in
// the log, however many kinds and objects wait.
type hostBreaker struct {
	clock clock.Clock
	log   logr.Logger
	// onReset is called each time when the host can be reached again.
	onReset func()
	// done ends the search for the host.
	done <-chan struct{}

	mu      sync.Mutex
	reset   chan struct{} // closed while the gate is open
	cause   error
	since   time.Time
	probing bool // somebody is looking whether the host is there
}

// errUnreachable is what a request before a shut gate ends with.
var errUnreachable = errors.New("the host's API server cannot be reached")

func newHostBreaker(c clock.Clock, log logr.Logger, done <-chan struct{}) *hostBreaker {
	open := make(chan struct{})
	close(open)
	return &hostBreaker{clock: c, log: log, reset: open, onReset: func() {}, done: done}
}

// wrap puts the gate into a client configuration. With wait, requests wait before
// a shut gate; without, they fail.
func (g *hostBreaker) wrap(config *rest.Config, wait bool) *rest.Config {
	config = rest.CopyConfig(config)
	config.QPS = -1
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return &breakerTransport{breaker: g, next: next, wait: wait, server: config.Host}
	})
	return config
}

// tripCause says why the gate is shut, nil if it is open.
func (g *hostBreaker) tripCause() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.cause
}

// state is a channel that is closed when the gate is open, and the reason why it
// is not.
func (g *hostBreaker) state() (<-chan struct{}, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.reset, g.cause
}

// trip shuts the gate for a reason, and looks for the host from then on.
func (g *hostBreaker) trip(cause error, probe func() error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.cause != nil {
		return
	}
	g.cause, g.since, g.reset = cause, g.clock.Now(), make(chan struct{})
	g.log.Info("The host cannot be reached; the virtual cluster goes on, syncing resumes by itself", "reason", cause.Error())
	setHostUnreachable(true)
	go g.probeUntilReset(probe)
}

// probeOnce looks for the host once and shuts the gate if there is no answer: a
// request that ran out of time may have had too little of it.
func (g *hostBreaker) probeOnce(cause error, probe func() error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.probing || g.cause != nil {
		return
	}
	g.probing = true
	go func() {
		if probe() != nil {
			g.trip(cause, probe)
		}
		g.mu.Lock()
		g.probing = false
		g.mu.Unlock()
	}()
}

// probeUntilReset asks for the host until it answers and opens the gate then.
func (g *hostBreaker) probeUntilReset(probe func() error) {
	for pause := firstProbe; ; pause = min(2*pause, lastProbe) {
		select {
		case <-g.clock.After(pause):
		case <-g.done:
			return
		}
		if err := probe(); err != nil {
			g.mu.Lock()
			g.cause = err
			g.mu.Unlock()
			continue
		}
		break
	}
	g.mu.Lock()
	g.cause = nil
	g.log.Info("The host can be reached again", "after", g.clock.Since(g.since).Round(time.Millisecond).String())
	close(g.reset)
	g.mu.Unlock()
	setHostUnreachable(false)
	g.onReset()
}

// breakerTransport is a transport behind a gate.
type breakerTransport struct {
	breaker *hostBreaker
	next    http.RoundTripper
	wait    bool
	server  string
}

// RoundTrip sends a request if the gate is open.
func (t *breakerTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	for {
		open, cause := t.breaker.state()
		if cause == nil {
			break
		}
		if !t.wait {
			return nil, fmt.Errorf("%w: %w", errUnreachable, cause)
		}
		select {
		case <-open:
		case <-request.Context().Done():
			return nil, request.Context().Err()
		}
	}
	countHostRequest(request)
	response, err := t.next.RoundTrip(request)
	probe := func() error { return t.probe(request.URL) }
	switch {
	case err != nil && request.Context().Err() == nil:
		t.breaker.trip(err, probe)
	case err != nil && errors.Is(request.Context().Err(), context.DeadlineExceeded):
		t.breaker.probeOnce(err, probe)
	case err == nil && isUnavailable(response.StatusCode):
		t.breaker.trip(fmt.Errorf("it answers %s", response.Status), probe)
	}
	return response, err
}

// isUnavailable says that an answer comes from somebody before the API server, or
// from one that does not serve yet.
func isUnavailable(status int) bool {
	return status == http.StatusBadGateway || status == http.StatusServiceUnavailable || status == http.StatusGatewayTimeout
}

// probe asks the API server for anything at all. It has no credentials here and
// needs none: to be refused is an answer too.
func (t *breakerTransport) probe(like *url.URL) error {
	ctx, cancel := context.WithTimeout(context.Background(), probeTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, like.Scheme+"://"+like.Host+"/version", nil)
	if err != nil {
		return err
	}
	response, err := t.next.RoundTrip(request)
	if err != nil {
		return err
	}
	_ = response.Body.Close()
	if isUnavailable(response.StatusCode) {
		return fmt.Errorf("it answers %s", response.Status)
	}
	return nil
}
