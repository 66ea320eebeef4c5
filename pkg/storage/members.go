package storage

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/types"

	"github.com/sublet-dev/sublet/api/syncz"
)

// leaveRetry is the time between two attempts to leave.
const leaveRetry = 200 * time.Millisecond

var (
	errNoMembers    = errors.New("the store is not open")
	errOnlyVoter    = errors.New("the last member cannot leave the store")
	errNotNow       = errors.New("another member defragments")
	errLearner      = errors.New("this member catches up with the others")
	errNoSuchMember = errors.New("no such member")
)

// MemberStatus is one member of the store.
type MemberStatus struct {
	// Name is empty for a learner that has not started yet.
	Name string
	// URL is where other members reach it.
	URL string
	// Learner is true if it has no vote yet.
	Learner bool
	// Self is true for the member of this process, Leader for the one that leads.
	Self, Leader bool

	id types.ID
}

// Members returns the members as this one knows them. It is empty before the store is
// open.
func (e *Etcd) Members() []MemberStatus {
	if !e.started.Load() {
		return nil
	}
	return e.members()
}

// members returns the members of a server that may not have a leader yet.
func (e *Etcd) members() []MemberStatus {
	var members []MemberStatus
	for _, member := range e.server.Cluster().Members() {
		members = append(members, MemberStatus{
			Name: member.Name, URL: strings.Join(member.PeerURLs, ","), Learner: member.IsLearner,
			Self: member.ID == e.server.MemberID(), Leader: member.ID == e.server.Leader(), id: member.ID,
		})
	}
	return members
}

// self returns the member of this process. ok is false if it was removed.
func (e *Etcd) self() (MemberStatus, bool) {
	for _, member := range e.Members() {
		if member.Self {
			return member, true
		}
	}
	return MemberStatus{}, false
}

// ConfirmMembers returns after everything that was changed before is visible in
// Members. It fails without a majority.
func (e *Etcd) ConfirmMembers(ctx context.Context) error {
	if !e.started.Load() {
		return errNoMembers
	}
	if err := e.server.LinearizableReadNotify(ctx); err != nil {
		return fmt.Errorf("cannot read the members of the store: %w", err)
	}
	return nil
}

// Promote gives this member a vote, once it has caught up with the leader. It fails
// if it has not.
func (e *Etcd) Promote(ctx context.Context) error {
	if !e.started.Load() {
		return errNoMembers
	}
	if _, err := e.server.PromoteMember(ctx, uint64(e.server.MemberID())); err != nil {
		return fmt.Errorf("cannot promote member %s of the store: %w", e.Member.Name, err)
	}
	return nil
}

// Answers reports whether the member with a peer URL runs.
func (e *Etcd) Answers(ctx context.Context, peerURL string) bool {
	_, err := e.caller.membership(ctx, peerURL, e.server.MemberID())
	return err == nil
}

// RemoveMember removes the member with a peer URL. etcd denies it if the rest would have
// no majority.
func (e *Etcd) RemoveMember(ctx context.Context, peerURL string) error {
	if !e.started.Load() {
		return errNoMembers
	}
	for _, member := range e.Members() {
		if member.URL != peerURL {
			continue
		}
		if _, err := e.server.RemoveMember(ctx, uint64(member.id)); err != nil {
			return fmt.Errorf("cannot remove member %s of the store: %w", peerURL, err)
		}
		return nil
	}
	return fmt.Errorf("cannot remove member %s of the store: %w", peerURL, errNoSuchMember)
}

// Leave removes this member from the store, after it has passed on leadership. It tries until ctx ends. As the leader,
// it first removes members that are in excess and do not answer, because nobody else may be able to afterwards. The
// store is of no use afterwards.
func (e *Etcd) Leave(ctx context.Context, isExcess func(MemberStatus) bool) error {
	if !e.started.Load() {
		return errNoMembers
	}
	e.leaving.Store(true)
	for {
		err := e.tryLeave(ctx, isExcess)
		if err == nil || errors.Is(err, errOnlyVoter) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-e.server.StopNotify():
			if e.wasRemoved(ctx) {
				return nil
			}
			return err
		case <-e.Clock.After(leaveRetry):
		}
	}
}

// tryLeave removes this member once.
func (e *Etcd) tryLeave(ctx context.Context, isExcess func(MemberStatus) bool) error {
	own, ok := e.self()
	if !ok || e.wasRemoved(ctx) {
		return nil
	}
	if !own.Learner && e.isOnlyVoter() {
		return errOnlyVoter
	}
	ctx, cancel := context.WithTimeout(ctx, peerTimeout)
	defer cancel()
	if own.Leader {
		if err := e.passLeadership(ctx, isExcess); err != nil {
			return err
		}
	}
	if _, err := e.server.RemoveMember(ctx, uint64(own.id)); err != nil {
		return fmt.Errorf("cannot leave the store: %w", err)
	}
	return nil
}

// passLeadership transfers the leadership to the member with the lowest name, because members with high
// ordinals may be leaving too. It waits for voters that do not answer, and removes those in excess. Otherwise two
// leaving members would transfer it to each other, and etcd would remove neither of them.
func (e *Etcd) passLeadership(ctx context.Context, isExcess func(MemberStatus) bool) error {
	var next MemberStatus
	for _, member := range e.Members() {
		if member.Self || member.Learner {
			continue
		}
		if _, err := e.caller.membership(ctx, member.URL, member.id); err != nil {
			if isExcess(member) {
				// A member that does not answer at all has used up ctx.
				removing, cancel := context.WithTimeout(context.WithoutCancel(ctx), peerTimeout)
				_, removeErr := e.server.RemoveMember(removing, uint64(member.id))
				cancel()
				err = errors.Join(err, removeErr)
			}
			return fmt.Errorf("cannot pass on the leadership of the store: %w", err)
		}
		if next.Name == "" || member.Name < next.Name {
			next = member
		}
	}
	if err := e.server.MoveLeader(ctx, uint64(e.server.MemberID()), uint64(next.id)); err != nil {
		return fmt.Errorf("cannot pass on the leadership of the store to %s: %w", next.Name, err)
	}
	return nil
}

// YieldLead transfers the leadership if this member was started as [Etcd.Lone]. As its heartbeats are rare,
// it would soon lose the leadership anyway.
func (e *Etcd) YieldLead() error {
	if !e.Lone || !e.IsLeader() || e.isOnlyVoter() {
		return nil
	}
	return e.transferLeadership()
}

// transferLeadership transfers the leadership to another voter. It fails while a member defragments, because that
// member cannot lead and needs this one.
func (e *Etcd) transferLeadership() error {
	id := e.server.MemberID().String()
	if !e.turns.acquire(id, e.Clock.Now()) {
		return errNotNow
	}
	defer e.turns.release(id)
	if err := e.server.TryTransferLeadershipOnShutdown(); err != nil {
		return fmt.Errorf("cannot pass on the leadership of the store: %w", err)
	}
	return nil
}

// wasRemoved asks the other members whether this one was removed. The leader does not always replicate the
// removal to the removed member.
func (e *Etcd) wasRemoved(ctx context.Context) bool {
	for _, member := range e.Members() {
		if member.Self {
			continue
		}
		answer, err := e.caller.membership(ctx, member.URL, e.server.MemberID())
		if err == nil && answer.Removed {
			return true
		}
	}
	return false
}

// isOnlyVoter reports whether no other member has a vote.
func (e *Etcd) isOnlyVoter() bool {
	for _, member := range e.Members() {
		if !member.Self && !member.Learner {
			return false
		}
	}
	return true
}

// IsVoter returns nil if this member has a vote and knows the leader.
func (e *Etcd) IsVoter() error {
	if !e.started.Load() {
		return errNoMembers
	}
	own, ok := e.self()
	switch {
	case !ok:
		return errors.New("this member was removed from the store")
	case e.server.Leader() == 0:
		return errors.New("the members of the store have no leader")
	case own.Learner:
		return errLearner
	}
	return nil
}

// HasLeader returns nil if this member knows the leader of the store.
func (e *Etcd) HasLeader() error {
	if err := e.IsVoter(); err != nil && !errors.Is(err, errLearner) {
		return err
	}
	return nil
}

// IsLeader reports whether this member leads the store.
func (e *Etcd) IsLeader() bool { return e.started.Load() && e.server.Leader() == e.server.MemberID() }

// checkMembers returns the health of the membership.
func (e *Etcd) checkMembers() syncz.Check {
	check := syncz.Check{Name: "store members", Healthy: true, Message: "This member of the store has a leader."}
	if err := e.IsVoter(); err != nil {
		check.Healthy, check.Message = false, strings.ToUpper(err.Error()[:1])+err.Error()[1:]+"."
	}
	for _, member := range e.Members() {
		role := "voter"
		switch {
		case member.Learner:
			role = "learner"
		case member.Leader:
			role = "leader"
		}
		check.Details = append(check.Details, fmt.Sprintf("%s %s: %s", role, member.Name, member.URL))
	}
	return check
}

// takeTurn reserves the right to defragment. It fails if another member has it. As only followers may
// defragment, a leader transfers its leadership first. The returned function releases the right.
func (e *Etcd) takeTurn(ctx context.Context) (end func(), err error) {
	if len(e.Members()) < 2 {
		return func() {}, nil
	}
	id := e.server.MemberID().String()
	if e.server.Leader() == e.server.MemberID() {
		if e.isOnlyVoter() {
			if !e.turns.acquire(id, e.Clock.Now()) {
				return nil, errNotNow
			}
			return func() { e.turns.release(id) }, nil
		}
		if err := e.transferLeadership(); err != nil {
			return nil, err
		}
	}
	leader := e.server.Cluster().Member(e.server.Leader())
	if leader == nil {
		return nil, errors.New("the members of the store have no leader")
	}
	asking, cancel := context.WithTimeout(ctx, peerTimeout)
	defer cancel()
	query := url.Values{"id": {id}}
	peer := strings.Join(leader.PeerURLs, ",")
	if err := e.caller.call(asking, http.MethodPost, peer, pathTurn, query, nil, nil); err != nil {
		return nil, fmt.Errorf("%w: %w", errNotNow, err)
	}
	return func() {
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), peerTimeout)
		defer cancel()
		_ = e.caller.call(ending, http.MethodDelete, peer, pathTurn, query, nil, nil) // It ends by itself, too.
	}, nil
}
