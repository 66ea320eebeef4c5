package lifecycle

import (
	"context"
	"fmt"
	"sync"
	"time"

	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/klog/v2"
)

// Election decides when this replica runs the leader parts.
//
// The lock is a Lease in the virtual cluster's own store: who cannot reach the store
// cannot lead. It does not promise that two terms never overlap, as a replica may
// stand still longer than the lease lasts. What the leader parts write is bound to
// versions for that reason.
type Election struct {
	// Replicas is the number of replicas. With one, its term never ends and the
	// lock is not used.
	Replicas int
	// Lock is the lease that the replicas compete for.
	Lock resourcelock.Interface
	// LeaseDuration is how long a term outlives its last renewal, in whole seconds.
	// Default 15 s.
	// RenewDeadline is how long a leader tries to renew before it stops; the parts
	// have the rest of LeaseDuration to stop. Default 10 s.
	// RetryPeriod is the time between two tries. Default 2 s.
	LeaseDuration, RenewDeadline, RetryPeriod time.Duration
}

// run runs the parts for each term until ctx ends. It fails if a part does; the
// loss of the lease only ends the term.
func (e *Election) run(ctx context.Context, parts []Part) error {
	if e == nil || e.Replicas <= 1 {
		return runInOrder(ctx, parts)
	}
	for ctx.Err() == nil {
		if err := e.runTerm(ctx, parts); err != nil {
			return err
		}
	}
	return nil
}

// term is one try to lead. It has ended when the parts have stopped.
type term struct {
	mu      sync.Mutex
	started bool
	closed  bool
	result  chan error
}

// begin reports whether the parts may start.
func (t *term) begin() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.started = !t.closed
	return t.started
}

// close keeps parts that have not started from starting, and reports whether they
// have.
func (t *term) close() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	return t.started
}

// runTerm waits for the lease and runs the parts until it is lost or ctx ends. The
// lease is released only after the parts have stopped.
func (e *Election) runTerm(ctx context.Context, parts []Part) error {
	electing, release := context.WithCancel(context.WithoutCancel(ctx))
	defer release()
	current := &term{result: make(chan error, 1)}
	defer context.AfterFunc(ctx, func() {
		if !current.close() {
			release()
		}
	})()
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: e.Lock, Name: "sublet", ReleaseOnCancel: true,
		LeaseDuration: orDefault(e.LeaseDuration, 15*time.Second),
		RenewDeadline: orDefault(e.RenewDeadline, 10*time.Second),
		RetryPeriod:   orDefault(e.RetryPeriod, 2*time.Second),
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(held context.Context) {
				if !current.begin() {
					return
				}
				klog.InfoS("Leading", "identity", e.Lock.Identity())
				leading, stop := context.WithCancel(held)
				defer stop()
				defer context.AfterFunc(ctx, stop)()
				current.result <- runInOrder(leading, parts)
				release()
			},
			OnStoppedLeading: func() {},
		},
	})
	if err != nil {
		return fmt.Errorf("cannot prepare the election: %w", err)
	}
	elector.Run(electing)
	if !current.close() {
		return nil
	}
	err = <-current.result
	if err == nil && ctx.Err() == nil {
		klog.InfoS("Lost the lease, following", "identity", e.Lock.Identity())
	}
	return err
}

func orDefault(value, fallback time.Duration) time.Duration {
	if value == 0 {
		return fallback
	}
	return value
}
