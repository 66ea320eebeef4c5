// Package lifecycle runs the parts of the process. It starts them in order, each once the one
// before it is ready, and stops them in reverse order. Leader parts run on one replica at a
// time, and get a new context for each term.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"k8s.io/klog/v2"
)

// Part is one thing that runs in the process.
type Part struct {
	// Name identifies the part in errors and in the log.
	Name string
	// Run runs the part until ctx ends. For a leader part it is called once per term.
	Run func(ctx context.Context) error
	// Ready is closed once the next part may start. nil means at once.
	Ready <-chan struct{}
	// Grace is added to the time that all parts together have to stop.
	Grace time.Duration
	// Leader is true if only the leader may run the part.
	Leader bool
}

// stopTimeout is how long all parts together have to stop, unless they have a Grace. The process
// must end within 5 s of SIGTERM.
const stopTimeout = 4500 * time.Millisecond

// errNotStopped is returned if a part does not stop in time.
var errNotStopped = errors.New("did not stop")

// result is the result of a part's Run.
type result struct {
	name string
	err  error
}

// Run starts the parts that every replica runs, and then the leader parts for each term of this
// replica. It stops all parts in reverse order when ctx ends or the first part returns. A part
// that returns on its own stops all others, because nobody would notice a control plane that is
// half running.
func Run(ctx context.Context, parts []Part, election *Election) error {
	var everywhere, leader []Part
	for _, part := range parts {
		if part.Leader {
			leader = append(leader, part)
		} else {
			everywhere = append(everywhere, part)
		}
	}
	if len(leader) > 0 {
		everywhere = append(everywhere, Part{Name: "leader", Run: func(ctx context.Context) error {
			return election.run(ctx, leader)
		}})
	}
	return runInOrder(ctx, everywhere, stopTimeout)
}

// RunTerm runs the parts of one leader term like Run. It waits until they have stopped, however
// long that takes, because those of the next term must not overlap.
func RunTerm(ctx context.Context, parts []Part) error {
	return runInOrder(ctx, parts, 0)
}

// runInOrder starts the parts one after another and stops them in reverse order. timeout bounds
// the stop, 0 means no limit.
func runInOrder(ctx context.Context, parts []Part, timeout time.Duration) error {
	// The parts do not end with ctx, so that they can be stopped one by one.
	base := context.WithoutCancel(ctx)
	done := make(chan result, len(parts))
	var started []running

	cause := func() error {
		for _, part := range parts {
			started = append(started, start(base, part, done))
			if stop, err := awaitReady(ctx, part, done); stop {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case r := <-done:
			return r.failure()
		}
	}()
	return errors.Join(cause, stopInReverse(started, cause, timeout))
}

// awaitReady waits until part is ready. stop is true if no further part may start, because ctx
// has ended or a part has returned.
func awaitReady(ctx context.Context, part Part, done <-chan result) (stop bool, err error) {
	ready := part.Ready
	if ready == nil {
		return ctx.Err() != nil, nil
	}
	select {
	case <-ready:
		return ctx.Err() != nil, nil
	case <-ctx.Done():
		return true, nil
	case r := <-done:
		return true, r.failure()
	}
}

func (r result) failure() error {
	if r.err == nil {
		return fmt.Errorf("%s ended by itself", r.name)
	}
	return fmt.Errorf("%s: %w", r.name, r.err)
}

// running is a started part.
type running struct {
	name    string
	cancel  context.CancelFunc
	stopped <-chan struct{}
	err     *error
	grace   time.Duration
}

func start(ctx context.Context, part Part, done chan<- result) running {
	ctx, cancel := context.WithCancel(ctx)
	stopped := make(chan struct{})
	failure := new(error)
	go func() {
		err := part.Run(ctx)
		*failure = err
		close(stopped)
		done <- result{part.Name, err}
	}()
	return running{name: part.Name, cancel: cancel, stopped: stopped, err: failure, grace: part.Grace}
}

// stopInReverse stops the parts from the last to the first and waits for each. timeout bounds
// all together, 0 means no limit. Errors of parts are returned only if there was no failure
// before.
func stopInReverse(started []running, cause error, timeout time.Duration) error {
	var deadline <-chan time.Time
	if timeout > 0 {
		for _, r := range started {
			timeout += r.grace
		}
		deadline = time.After(timeout)
	}
	var errs []error
	for i, r := range slices.Backward(started) {
		begin := time.Now()
		r.cancel()
		select {
		case <-r.stopped:
			klog.V(2).InfoS("Stopped", "part", r.name, "duration", time.Since(begin))
			if cause == nil && *r.err != nil && !errors.Is(*r.err, context.Canceled) {
				errs = append(errs, fmt.Errorf("%s, while stopping: %w", r.name, *r.err))
			}
		case <-deadline:
			for _, rest := range started[:i+1] {
				rest.cancel()
			}
			return errors.Join(append(errs, fmt.Errorf("%s %w within %s", r.name, errNotStopped, timeout))...)
		}
		if took := time.Since(begin); took > stopTimeout {
			klog.InfoS("A part has stopped late", "part", r.name, "duration", took)
		}
	}
	return errors.Join(errs...)
}
