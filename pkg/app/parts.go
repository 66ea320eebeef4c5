package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/klog/v2"
)

// part is one thing that runs in the process.
type part struct {
	name string
	run  func(ctx context.Context) error
	// ready is closed once the next part may start; nil means at once.
	ready <-chan struct{}
}

// stopTimeout is how long all parts together have to stop before the process
// ends without them. SIGTERM must be over in 5 s.
const stopTimeout = 4500 * time.Millisecond

// ended is what a part returned.
type ended struct {
	name string
	err  error
}

// runInOrder starts the parts one after another, each when the one before it is
// ready, and stops them in reverse when ctx ends or the first of them does. A
// part that ends by itself ends the process: half a control plane is worse than
// none, as nobody would notice.
func runInOrder(ctx context.Context, parts []part) error {
	// The parts outlive ctx, so that each can be stopped in its turn.
	base := context.WithoutCancel(ctx)
	done := make(chan ended, len(parts))
	var started []running

	cause := func() error {
		for _, p := range parts {
			started = append(started, start(base, p, done))
			if err := awaitReady(ctx, p, done); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case e := <-done:
			return e.failure()
		}
	}()
	return errors.Join(cause, stopInReverse(started, cause))
}

// awaitReady waits until p is ready, and fails if any part ends before.
func awaitReady(ctx context.Context, p part, done <-chan ended) error {
	if p.ready == nil {
		return nil
	}
	select {
	case <-p.ready:
		return nil
	case <-ctx.Done():
		return nil
	case e := <-done:
		return e.failure()
	}
}

func (e ended) failure() error {
	if e.err == nil {
		return fmt.Errorf("%s ended by itself", e.name)
	}
	return fmt.Errorf("%s: %w", e.name, e.err)
}

// running is a started part and how to stop it.
type running struct {
	name    string
	cancel  context.CancelFunc
	stopped <-chan struct{}
	err     *error
}

func start(ctx context.Context, p part, done chan<- ended) running {
	ctx, cancel := context.WithCancel(ctx)
	stopped := make(chan struct{})
	result := new(error)
	go func() {
		err := p.run(ctx)
		*result = err
		close(stopped)
		done <- ended{p.name, err}
	}()
	return running{name: p.name, cancel: cancel, stopped: stopped, err: result}
}

// stopInReverse cancels the parts from the last to the first and waits for each.
// What a part says while it stops is worth an error only if nothing failed before.
func stopInReverse(started []running, cause error) error {
	deadline := time.After(stopTimeout)
	var errs []error
	for i := len(started) - 1; i >= 0; i-- {
		r := started[i]
		begin := time.Now()
		r.cancel()
		select {
		case <-r.stopped:
			klog.V(2).InfoS("Stopped", "part", r.name, "took", time.Since(begin))
			if cause == nil && *r.err != nil && !errors.Is(*r.err, context.Canceled) {
				errs = append(errs, fmt.Errorf("%s, while stopping: %w", r.name, *r.err))
			}
		case <-deadline:
			for _, rest := range started[:i+1] {
				rest.cancel()
			}
			return errors.Join(append(errs, fmt.Errorf("%s did not stop within %s", r.name, stopTimeout))...)
		}
	}
	return errors.Join(errs...)
}
