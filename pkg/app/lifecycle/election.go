package lifecycle

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/types"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/klog/v2"
)

// ErrTermEnded is returned by a leader part if it finds that another replica leads. It ends the
// term like the loss of the lease.
var ErrTermEnded = errors.New("another replica leads")

// Election decides when this replica runs the leader parts.
//
// The lock is a Lease in the virtual cluster's own store, so a replica that cannot reach the
// store cannot lead. A lease does not guarantee that terms never overlap, because a process may
// be suspended for longer than the lease lasts. [Election.Holds] then returns false, and all
// writes of leader parts check it.
type Election struct {
	// Contested is closed when other replicas may compete for the lease. Before that, this
	// replica leads without the lock. nil means that there are never others.
	Contested <-chan struct{}
	// Lease is the key of the Lease that the replicas compete for. Identity is the holder
	// identity of this replica.
	Leases   coordinationclient.LeasesGetter
	Lease    types.NamespacedName
	Identity string
	// Watch calls changed after each change of the lease until ctx ends. Default: the lease
	// is polled every RetryPeriod.
	Watch func(ctx context.Context, changed func())
	// LeaseDuration is how long the lease is valid after a renewal, in whole seconds.
	// Default 15 s.
	// RenewDeadline is how long a leader tries to renew the lease before it stops. The parts
	// have the rest of LeaseDuration to stop. Default 10 s.
	// RetryPeriod is the time between two attempts. Default 2 s.
	LeaseDuration, RenewDeadline, RetryPeriod time.Duration

	mu sync.Mutex
	// alone is true while this replica leads without the lock. It stays true until this
	// replica has competed for the lock for the first time.
	alone bool
	lock  *observedLock
}

// Holds reports whether this replica leads now, so that nobody else can have the lease. It
// returns false after the process was suspended for longer than the lease lasts.
func (e *Election) Holds() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.alone || e.lock != nil && e.lock.isHeld()
}

// run runs the leader parts for each term until ctx ends. It returns the error of a part that
// fails while this replica leads. The loss of the lease only ends the term, whatever its parts
// return.
func (e *Election) run(ctx context.Context, parts []Part) error {
	if e == nil {
		return runInOrder(ctx, parts, stopTimeout)
	}
	e.setDefaults()
	current, err := e.runAlone(ctx, parts)
	for ctx.Err() == nil && err == nil {
		if current == nil {
			e.awaitVacancy(ctx)
		}
		err = e.runTerm(ctx, parts, current)
		current = nil
	}
	return err
}

func (e *Election) setDefaults() {
	e.LeaseDuration = cmp.Or(e.LeaseDuration, 15*time.Second)
	e.RenewDeadline = cmp.Or(e.RenewDeadline, 10*time.Second)
	e.RetryPeriod = cmp.Or(e.RetryPeriod, 2*time.Second)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lock = newObservedLock(e.Leases, e.Lease, e.Identity, e.LeaseDuration)
}

// runAlone runs the parts without the lock until ctx ends or the lock is contested. In the
// latter case it returns the running term, which continues if this replica gets the lease.
func (e *Election) runAlone(ctx context.Context, parts []Part) (*term, error) {
	select {
	case <-e.Contested:
		return nil, nil
	default:
	}
	e.recordAlone()
	current := startTerm(ctx, parts)
	select {
	case <-current.done:
		e.clearAlone()
		return nil, current.failure()
	case <-e.Contested:
		return current, nil
	}
}

// recordAlone records that the parts run without the lock.
func (e *Election) recordAlone() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.alone = true
}

// clearAlone records that the parts do not run without the lock.
func (e *Election) clearAlone() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.alone = false
}

// awaitVacancy waits until the lease is free or expired.
func (e *Election) awaitVacancy(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer cancel()
	changes := make(chan struct{}, 1)
	if e.Watch != nil {
		watching.Go(func() {
			e.Watch(ctx, func() {
				select {
				case changes <- struct{}{}:
				default:
				}
			})
		})
	}
	for ctx.Err() == nil {
		pause, vacant := e.lock.observe(ctx)
		if vacant {
			return
		}
		if e.Watch == nil {
			pause = min(pause, e.RetryPeriod)
		}
		timer := time.NewTimer(max(pause, e.RetryPeriod/10))
		select {
		case <-ctx.Done():
		case <-changes:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// term is one run of the leader parts.
type term struct {
	stop context.CancelFunc
	done chan struct{} // closed when the parts have stopped
	err  error
	lost atomic.Bool // this replica has lost the lease
}

// startTerm starts the parts. They stop when ctx ends.
func startTerm(ctx context.Context, parts []Part) *term {
	ctx, stop := context.WithCancel(ctx)
	t := &term{stop: stop, done: make(chan struct{})}
	go func() {
		defer close(t.done)
		defer stop()
		t.err = RunTerm(ctx, parts)
	}()
	return t
}

// lose stops the parts because this replica has lost the lease.
func (t *term) lose() {
	t.lost.Store(true)
	t.stop()
}

// failure returns the error of a term that must end the process. It returns nil if only the term
// has ended.
func (t *term) failure() error {
	switch {
	case errors.Is(t.err, ErrTermEnded):
		klog.InfoS("Another replica leads, following")
		return nil
	case t.lost.Load():
		if t.err != nil {
			klog.ErrorS(t.err, "A leader part failed when the lease was lost")
		}
		return nil
	default:
		return t.err
	}
}

// attempt is one attempt to get the lease. It makes sure that an abandoned attempt does not
// start a term later.
type attempt struct {
	mu      sync.Mutex
	started bool
	closed  bool
	result  chan error // the result of the term, if it has started
}

// begin reports whether the term may start, because the attempt was not closed.
func (a *attempt) begin() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.started = !a.closed
	return a.started
}

// preventStart prevents the term from starting later, and reports whether it has already started.
func (a *attempt) preventStart() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	return a.started
}

// runTerm tries to get the lease, and runs the parts until the lease is lost or ctx ends.
// current is a term that already runs. It is stopped if this replica does not get the lease. The
// lease is released only after the parts have stopped. The elector would release it before, if its
// renewals fail and the store responds again.
func (e *Election) runTerm(ctx context.Context, parts []Part, current *term) error {
	electing, release := context.WithCancel(context.WithoutCancel(ctx))
	defer release()
	try := &attempt{result: make(chan error, 1)}
	giveUp := func() {
		if !try.preventStart() {
			release()
		}
	}
	defer context.AfterFunc(ctx, giveUp)()
	defer time.AfterFunc(e.RenewDeadline, giveUp).Stop()
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: e.lock, Name: "sublet",
		LeaseDuration: e.LeaseDuration, RenewDeadline: e.RenewDeadline, RetryPeriod: e.RetryPeriod,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(held context.Context) {
				if try.begin() {
					try.result <- e.lead(ctx, held, parts, current)
					release()
				}
			},
			OnStoppedLeading: func() {},
		},
	})
	if err != nil {
		return fmt.Errorf("cannot prepare the election: %w", err)
	}
	elector.Run(electing)
	err = e.awaitStop(try, current)
	e.releaseLease(ctx)
	return err
}

// awaitStop waits until no part runs after an attempt. It returns the error of the term. A current
// term whose attempt has not started it loses the lease.
func (e *Election) awaitStop(try *attempt, current *term) error {
	if try.preventStart() {
		return <-try.result
	}
	e.clearAlone()
	if current == nil {
		return nil
	}
	current.lose()
	<-current.done
	return current.failure()
}

// releaseLease releases the lease if this replica may hold it, so that the next leader need not
// wait until it expires. The parts must have stopped. It works after ctx has ended, because a
// process that stops releases its lease.
func (e *Election) releaseLease(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), e.RenewDeadline)
	defer cancel()
	if err := e.lock.release(ctx); err != nil {
		klog.InfoS("Cannot release the lease, others wait until it expires", "err", err)
	}
}

// lead runs the parts until they return, or until held or ctx ends.
func (e *Election) lead(ctx, held context.Context, parts []Part, current *term) error {
	klog.InfoS("Leading", "identity", e.Identity)
	e.clearAlone()
	if current == nil {
		current = startTerm(ctx, parts)
	}
	defer context.AfterFunc(held, current.lose)()
	<-current.done
	// After the process was suspended, parts may fail before the elector notices the loss.
	if ctx.Err() == nil && !e.lock.isHeld() {
		current.lost.Store(true)
	}
	err := current.failure()
	if err == nil && ctx.Err() == nil {
		klog.InfoS("Lost the lease, following", "identity", e.Identity)
	}
	return err
}
