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

// gate stands before the host's API server. When a request does not get there,
// the gate shuts: watches wait in front of it, everything else fails at once
// with [errUnreachable], and the gate alone goes on asking until there is an
// answer. So a host that is away costs one request now and then and one line in
// the log, however many kinds and objects wait.
type gate struct {
	clock clock.Clock
	log   logr.Logger
	// opened is called each time when the host can be reached again.
	opened func()
	// done ends the search for the host.
	done <-chan struct{}

	mu      sync.Mutex
	open    chan struct{} // closed while the gate is open
	cause   error
	since   time.Time
	doubted bool // somebody is looking whether the host is there
}

// errUnreachable is what a request before a shut gate ends with.
var errUnreachable = errors.New("the host's API server cannot be reached")

func newGate(c clock.Clock, log logr.Logger, done <-chan struct{}) *gate {
	open := make(chan struct{})
	close(open)
	return &gate{clock: c, log: log, open: open, opened: func() {}, done: done}
}

// wrap puts the gate into a client configuration. With wait, requests wait before
// a shut gate; without, they fail.
func (g *gate) wrap(config *rest.Config, wait bool) *rest.Config {
	config = rest.CopyConfig(config)
	config.QPS = -1
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return &gated{gate: g, next: next, wait: wait, server: config.Host}
	})
	return config
}

// shut says why the gate is shut, nil if it is open.
func (g *gate) shut() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.cause
}

// state is a channel that is closed when the gate is open, and the reason why it
// is not.
func (g *gate) state() (<-chan struct{}, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.open, g.cause
}

// close shuts the gate for a reason, and looks for the host from then on.
func (g *gate) close(cause error, probe func() error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.cause != nil {
		return
	}
	g.cause, g.since, g.open = cause, g.clock.Now(), make(chan struct{})
	g.log.Info("The host cannot be reached; the virtual cluster goes on, syncing resumes by itself", "reason", cause.Error())
	hostUnreachable(true)
	go g.look(probe)
}

// doubt looks for the host once and shuts the gate if there is no answer: a
// request that ran out of time may have had too little of it.
func (g *gate) doubt(cause error, probe func() error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.doubted || g.cause != nil {
		return
	}
	g.doubted = true
	go func() {
		if probe() != nil {
			g.close(cause, probe)
		}
		g.mu.Lock()
		g.doubted = false
		g.mu.Unlock()
	}()
}

// look asks for the host until it answers and opens the gate then.
func (g *gate) look(probe func() error) {
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
	close(g.open)
	g.mu.Unlock()
	hostUnreachable(false)
	g.opened()
}

// gated is a transport behind a gate.
type gated struct {
	gate   *gate
	next   http.RoundTripper
	wait   bool
	server string
}

// RoundTrip sends a request if the gate is open.
func (t *gated) RoundTrip(request *http.Request) (*http.Response, error) {
	for {
		open, cause := t.gate.state()
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
		t.gate.close(err, probe)
	case err != nil && errors.Is(request.Context().Err(), context.DeadlineExceeded):
		t.gate.doubt(err, probe)
	case err == nil && unavailable(response.StatusCode):
		t.gate.close(fmt.Errorf("it answers %s", response.Status), probe)
	}
	return response, err
}

// unavailable says that an answer comes from somebody before the API server, or
// from one that does not serve yet.
func unavailable(status int) bool {
	return status == http.StatusBadGateway || status == http.StatusServiceUnavailable || status == http.StatusGatewayTimeout
}

// probe asks the API server for anything at all. It has no credentials here and
// needs none: to be refused is an answer too.
func (t *gated) probe(like *url.URL) error {
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
	if unavailable(response.StatusCode) {
		return fmt.Errorf("it answers %s", response.Status)
	}
	return nil
}
