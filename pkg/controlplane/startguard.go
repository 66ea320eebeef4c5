package controlplane

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/api/syncz"
)

const (
	// readyPoll is how often the start asks whether the API server is ready.
	readyPoll = 5 * time.Millisecond

	// reportPeriod is how often a start that is not over yet logs what it waits for.
	reportPeriod = 10 * time.Second

	// standstill is how long a start may make no progress before it fails. The total time is
	// limited by the startup probe.
	standstill = 5 * time.Minute

	// probeTimeout limits one question whether the API server is ready.
	probeTimeout = 10 * time.Second
)

// startGuard waits until the API server is ready. It only gives up when there is no progress: a slow disk
// or many objects are no failure.
type startGuard struct {
	clock clock.PassiveClock
	// probe returns the names of the checks that fail, none if the server is ready.
	probe func(ctx context.Context) (failing []string)
	// moves returns a counter that grows with each step of the start.
	moves func() int64

	mu      sync.Mutex
	waiting string // the failing checks, empty once ready
}

// newStartGuard returns a guard that asks /readyz.
func newStartGuard(own *rest.Config, c clock.PassiveClock, moves func() int64) (*startGuard, error) {
	client, err := rest.HTTPClientFor(own)
	if err != nil {
		return nil, fmt.Errorf("cannot prepare the readiness check: %w", err)
	}
	url := own.Host + "/readyz"
	return &startGuard{
		clock: c, moves: moves, waiting: "its first answer",
		probe: func(ctx context.Context) []string { return probeReadyz(ctx, client, url) },
	}, nil
}

// probeReadyz asks whether the API server is ready, and returns the checks that fail.
func probeReadyz(ctx context.Context, client *http.Client, url string) (failing []string) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout) // An answer that never comes is no progress.
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return []string{err.Error()}
	}
	res, err := client.Do(req)
	if err != nil {
		return failingChecks("")
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode == http.StatusOK {
		return nil
	}
	body, _ := io.ReadAll(res.Body)
	return failingChecks(string(body))
}

// failingChecks returns the names of the checks that fail in an answer of /readyz.
func failingChecks(body string) []string {
	var failing []string
	for line := range strings.Lines(body) {
		if rest, ok := strings.CutPrefix(line, "[-]"); ok {
			name, _, _ := strings.Cut(rest, " ")
			failing = append(failing, name)
		}
	}
	if len(failing) == 0 {
		return []string{"an answer of the API server"}
	}
	return failing
}

// await returns when the API server is ready. It fails when ctx ends, or after standstill without
// progress.
func (g *startGuard) await(ctx context.Context) error {
	ticker := time.NewTicker(readyPoll)
	defer ticker.Stop()
	begin := g.clock.Now()
	lastMove, lastReport := begin, begin
	var lastMoves int64
	for {
		failing := g.probe(ctx)
		moved := g.record(strings.Join(failing, ", "))
		if len(failing) == 0 {
			return nil
		}
		now := g.clock.Now()
		if moves := g.moves(); moved || moves != lastMoves {
			lastMove, lastMoves = now, moves
		}
		if now.Sub(lastReport) >= reportPeriod {
			lastReport = now
			klog.InfoS("Starting the control plane", "waitingFor", failing, "since", now.Sub(begin).Round(time.Second))
		}
		if now.Sub(lastMove) >= standstill {
			return fmt.Errorf("cannot start the control plane: no progress for %s, waiting for %s", standstill, strings.Join(failing, ", "))
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
		}
	}
}

// record records what the start waits for and reports whether that has changed.
func (g *startGuard) record(waiting string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	changed := g.waiting != waiting
	g.waiting = waiting
	return changed
}

// check returns the progress of the start.
func (g *startGuard) check() syncz.Check {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.waiting == "" {
		return syncz.Check{Name: "control plane", Healthy: true, Message: "ready"}
	}
	return syncz.Check{Name: "control plane", Message: "starting, waiting for " + g.waiting}
}
