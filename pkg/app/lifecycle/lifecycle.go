// Package lifecycle runs the parts of the process: in order, each when the one
// before it is ready, and stops them in reverse. Parts that only one replica may
// run get a context for each term of its leadership.
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
	// Run runs the part until ctx ends. That of a leader part is called once per
	// term.
	Run func(ctx context.Context) error
	// Ready is closed once the next part may start; nil means at once.
	Ready <-chan struct{}
	// Grace is how long the part may need to stop beyond what all parts have together.
	Grace time.Duration
	// Leader is true if one replica alone may run the part at a time.
	Leader bool
}

// stopTimeout is how long all parts together have to stop before the process
// ends without them. SIGTERM must be over in 5 s.
const stopTimeout = 4500 * time.Millisecond

// errNotStopped is the error of a part that does not stop in time.
var errNotStopped = errors.New("did not stop")

// result is what a part returned.
type result struct {
	name string
	err  error
}

// Run starts the parts that every replica runs, and after them the leader parts
// for each term that the election grants. It stops them in reverse when ctx ends or
// the first of them does. A part that ends by itself ends all: half a control plane
// is worse than none, as nobody would notice.
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

// RunTerm runs parts of one term of the leader, as Run does. It waits without a limit until they
// have stopped: those of the next term must not run at the same time.
func RunTerm(ctx context.Context, parts []Part) error {
	return runInOrder(ctx, parts, 0)
}

// runInOrder starts the parts one after another and stops them in reverse. They have the
// timeout to stop, 0 for no limit.
func runInOrder(ctx context.Context, parts []Part, timeout time.Duration) error {
	// The parts outlive ctx, so that each can be stopped in its turn.
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

// awaitReady waits until part is ready. stop is true if no further part may start:
// ctx has ended, or a part has failed.
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

// running is a started part and how to stop it.
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

// stopInReverse cancels the parts from the last to the first and waits for each, until the
// timeout unless it is 0. An error of a part that stops counts only if nothing failed before.
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
