package app

import (
	"context"
	"fmt"
	"sync"

	"github.com/sublet-dev/sublet/pkg/app/lifecycle"
)

// standby keeps the sync engine of a replica that does not lead. That engine serves host-first
// requests, and its caches stay warm until this replica leads.
type standby struct {
	// on is closed once other replicas can lead. A single replica needs no standby.
	on <-chan struct{}
	// sessions passes the standby session to the term that starts.
	sessions chan *heldSession
	// slot is held while an engine runs, so that this replica has one at a time.
	slot sync.Mutex
}

// heldSession is a standby session that a term can take over.
type heldSession struct {
	*session
	end      context.CancelFunc // stops its engine
	done     chan struct{}      // closed when its engine has stopped
	failure  error              // why it has stopped, once done is closed. nil if it was told to
	released chan struct{}      // closed when the term is over
}

// run waits until ctx ends, and stops the engine. It returns early with the reason if the engine fails.
func (h *heldSession) run(ctx context.Context) error {
	select {
	case <-ctx.Done():
	case <-h.done:
		return h.failure
	}
	h.end()
	<-h.done
	return nil
}

func newStandby(on <-chan struct{}) *standby {
	return &standby{on: on, sessions: make(chan *heldSession)}
}

// runStandby keeps a standby session until ctx ends. A term takes the session and does not
// return it, because caches and expectations of an earlier term are stale. A new session
// follows.
func (a *builtApp) runStandby(ctx context.Context) error {
	for _, open := range []<-chan struct{}{a.controlPlane.Ready(), a.others.standby.on} {
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

// standBy runs one standby session until a term has used it or ctx ends.
func (a *builtApp) standBy(ctx context.Context) error {
	a.others.standby.slot.Lock()
	defer a.others.standby.slot.Unlock()
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
	go func() {
		defer close(held.done)
		held.failure = built.engine.Run(running)
	}()
	a.hostFirst.set(built.engine)
	select {
	case a.others.standby.sessions <- held:
		<-held.released
	case <-ctx.Done():
	case <-held.done:
	}
	a.hostFirst.set(nil)
	end()
	<-held.done
	return held.failure
}

// hasWarmFollowers reports whether a replica that does not lead keeps the caches of all kinds.
func (a *configuration) hasWarmFollowers() bool {
	return a.options.canLead() && a.values.ControlPlane.StatefulSet.HighAvailability.StandbyCaches
}

// syncFromStandby syncs for one leader term. It uses the standby session if its caches are warm,
// and otherwise replaces it by a new one.
func (a *builtApp) syncFromStandby(ctx context.Context) error {
	var held *heldSession
	select {
	case held = <-a.others.standby.sessions:
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

// syncWith syncs with a standby session until ctx ends.
func (a *builtApp) syncWith(ctx context.Context, held *heldSession) error {
	held.lead()
	parts := append([]lifecycle.Part{{Name: "syncer", Run: held.run}}, a.termParts(held.session)...)
	return lifecycle.RunTerm(ctx, parts)
}

// recordTerm records this replica as the leader on the host. It ends the term when the host
// names a successor.
func (a *connectedApp) recordTerm(ctx context.Context) error {
	if err := a.holder.Lead(ctx); err != nil {
		return fmt.Errorf("%w: %w", lifecycle.ErrTermEnded, err)
	}
	return nil
}
