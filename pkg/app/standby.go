package app

import (
	"context"
	"fmt"
	"sync"

	"github.com/sublet-dev/sublet/pkg/app/lifecycle"
)

// standby has the engine of a replica that does not lead. It serves host-first requests, and
// its caches are warm for the next term of this replica.
type standby struct {
	// on is closed when other replicas can lead. A replica that is alone needs no standby.
	on <-chan struct{}
	// sessions passes the session on standby to a term.
	sessions chan *heldSession
	// slot is held by whoever runs an engine of this replica.
	slot sync.Mutex
}

// heldSession is a session on standby while a term uses it.
type heldSession struct {
	*session
	end      context.CancelFunc // ends its engine
	done     chan struct{}      // closed when its engine has stopped
	released chan struct{}      // closed when the term is over
}

func newStandby(on <-chan struct{}) *standby {
	return &standby{on: on, sessions: make(chan *heldSession)}
}

// isOn reports whether a term gets its session from the standby.
func (s *standby) isOn() bool {
	if s == nil {
		return false
	}
	select {
	case <-s.on:
		return true
	default:
		return false
	}
}

// runStandby keeps a session on standby until ctx ends. Each term takes it, and gets back
// none: the memory of an earlier term is stale.
func (a *app) runStandby(ctx context.Context) error {
	for _, open := range []<-chan struct{}{a.controlPlane.Ready(), a.standby.on} {
		select {
		case <-ctx.Done():
			return nil
		case <-open:
		}
	}
	a.hostFirst.setPatience(hostViewTimeout)
	for ctx.Err() == nil {
		if err := a.standBy(ctx); err != nil {
			return err
		}
	}
	return nil
}

// standBy keeps one session on standby until a term has used it.
func (a *app) standBy(ctx context.Context) error {
	a.standby.slot.Lock()
	defer a.standby.slot.Unlock()
	if ctx.Err() != nil {
		return nil
	}
	built, err := a.newSession(sessionOptions{standby: true, hostFirstOnly: !a.hasWarmFollowers()})
	if err != nil {
		return err
	}
	running, end := context.WithCancel(ctx)
	held := &heldSession{session: built, end: end, done: make(chan struct{}), released: make(chan struct{})}
	defer a.health.add(built.engine.Checks)()
	var failure error
	go func() {
		defer close(held.done)
		failure = built.engine.Run(running)
	}()
	a.hostFirst.set(built.engine)
	select {
	case a.standby.sessions <- held:
		<-held.released
	case <-ctx.Done():
	case <-held.done:
	}
	a.hostFirst.set(nil)
	end()
	<-held.done
	return failure
}

// hasWarmFollowers reports whether this replica keeps the caches of all kinds while it follows.
func (a *app) hasWarmFollowers() bool {
	return a.options.canLead() && a.values.ControlPlane.StatefulSet.HighAvailability.StandbyCaches
}

// syncFromStandby syncs for one term of the leader with the session on standby.
func (a *app) syncFromStandby(ctx context.Context) error {
	var held *heldSession
	select {
	case held = <-a.standby.sessions:
	case <-ctx.Done():
		return nil
	}
	defer close(held.released)
	if a.hasWarmFollowers() {
		return a.syncWith(ctx, held)
	}
	held.end()
	<-held.done
	return a.syncAlone(ctx)
}

// syncWith syncs with a session on standby until ctx ends.
func (a *app) syncWith(ctx context.Context, held *heldSession) error {
	held.lead()
	engine := func(ctx context.Context) error {
		select {
		case <-ctx.Done():
		case <-held.done:
			return nil
		}
		held.end()
		<-held.done
		return nil
	}
	parts := append([]lifecycle.Part{{Name: "syncer", Run: engine}}, a.termParts(held.session)...)
	return lifecycle.RunTerm(ctx, parts)
}

// recordTerm writes the record of the leader, and ends the term when there is a successor.
func (a *app) recordTerm(ctx context.Context) error {
	if err := a.holder.Lead(ctx); err != nil {
		return fmt.Errorf("%w: %w", lifecycle.ErrTermEnded, err)
	}
	return nil
}
