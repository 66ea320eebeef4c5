package app

import (
	"context"
	"errors"
	"slices"
	"time"

	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/api/release"
	"github.com/sublet-dev/sublet/pkg/app/host"
	"github.com/sublet-dev/sublet/pkg/storage"
)

var (
	errRemoving = errors.New("another member may have to be removed") // One sync removes at most one.
	errLeaving  = errors.New("a member that is scaled down still runs, and leaves by itself")
)

// run syncs the members of the store with the StatefulSet until ctx ends.
func (m *members) run(ctx context.Context) error {
	if m.others != nil {
		m.others.desired.OnChange(func(int) { m.requestSync() })
	}
	for {
		pause, err := m.sync(ctx)
		if err != nil {
			return err
		}
		var later <-chan time.Time
		if pause > 0 {
			later = clock.RealClock{}.After(pause)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-m.changes:
		case <-later:
		}
	}
}

// sync takes the next step towards the desired members. It returns when to sync again, 0
// for only after the next change. A lone member does not poll.
func (m *members) sync(ctx context.Context) (pause time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, memberResync)
	defer cancel()
	if m.etcd.HasLeader() != nil {
		return memberRetry, m.reviewRecord(ctx)
	}
	for _, step := range []func(context.Context) error{m.recordSelf, m.promoteSelf, m.removeExcess, m.yieldLead} {
		if err := step(ctx); err != nil {
			klog.V(2).InfoS("Cannot change the members of the store yet, retrying", "err", err)
			return memberRetry, nil
		}
	}
	if len(m.etcd.Members()) > 1 {
		return memberResync, nil
	}
	return 0, nil
}

// recordSelf adds this replica to the record. That must happen before the replica gets a vote.
func (m *members) recordSelf(ctx context.Context) error {
	if m.recorded.Load() {
		return nil
	}
	pod := m.options.identity().Pod
	_, err := m.record.Update(ctx, func(record host.Members) (host.Members, error) {
		if record.Forcing == pod {
			record.Forcing = ""
		}
		return record.With(pod), nil
	})
	if err != nil {
		return err
	}
	m.recorded.Store(true)
	return nil
}

// promoteSelf makes this replica a voting member.
func (m *members) promoteSelf(ctx context.Context) error {
	if m.etcd.IsVoter() == nil {
		return nil
	}
	if err := m.etcd.Promote(ctx); err != nil {
		return err
	}
	klog.InfoS("Became a member of the store with a vote", "pod", m.options.identity().Pod)
	return nil
}

// removeExcess removes one member that the StatefulSet was scaled down below. Without such a
// member, it updates the record. It acts only on the member that leads the store. A running
// member is not removed: it leaves by itself once it has served its last request.
func (m *members) removeExcess(ctx context.Context) error {
	if !m.etcd.IsLeader() {
		return nil
	}
	count, known := m.others.count()
	if !known || count == 0 {
		return m.recordMembers(ctx)
	}
	var errs []error
	for _, member := range m.etcd.Members() {
		ordinal, ok := m.ordinalOf(member)
		if !ok || ordinal < count || member.Self {
			continue
		}
		if m.etcd.Answers(ctx, member.URL) {
			errs = append(errs, errLeaving)
			continue
		}
		err := m.etcd.RemoveMember(ctx, member.URL)
		if err == nil {
			klog.InfoS("Removed a member of the store that is scaled down", "member", member.Name, "replicas", count)
			return errRemoving
		}
		errs = append(errs, err)
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	return m.recordMembers(ctx)
}

// recordMembers updates the record from the members of the store.
func (m *members) recordMembers(ctx context.Context) error {
	_, err := m.record.Update(ctx, func(record host.Members) (host.Members, error) {
		if err := m.etcd.ConfirmMembers(ctx); err != nil {
			return record, err
		}
		pods := []string{}
		for _, member := range m.etcd.Members() {
			if ordinal, ok := m.ordinalOf(member); ok && !member.Learner {
				pods = append(pods, m.names.Pod(ordinal))
			}
			if ordinal, ok := m.ordinalOf(member); ok && member.Learner && record.Has(m.names.Pod(ordinal)) {
				pods = append(pods, m.names.Pod(ordinal)) // It may become a voter at any time.
			}
		}
		slices.Sort(pods)
		record.Pods = pods
		return record, nil
	})
	return err
}

// yieldLead transfers the leadership of etcd if this member was started as the only one, but the
// StatefulSet wants several. The heartbeats of a lone member are too rare for others.
func (m *members) yieldLead(context.Context) error {
	if count, known := m.others.count(); !known || count < 2 {
		return nil
	}
	return m.etcd.YieldLead()
}

// ordinalOf returns the ordinal of a member's pod. A learner that has not started yet is found
// by its URL, because it has no name.
func (a *configuration) ordinalOf(member storage.MemberStatus) (ordinal int, ok bool) {
	if ordinal, ok = a.names.Ordinal(member.Name); ok {
		return ordinal, true
	}
	for ordinal := range release.MaxMembers {
		if a.peerURL(a.names.Pod(ordinal)) == member.URL {
			return ordinal, true
		}
	}
	return 0, false
}

// leave removes this replica from the store if the StatefulSet was scaled down below it.
func (m *members) leave(ctx context.Context) {
	ordinal, ok := m.names.Ordinal(m.options.identity().Pod)
	count, known := m.askReplicas(ctx)
	if !ok || !known || count == 0 || ordinal < count || len(m.etcd.Members()) < 2 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, leaveTimeout)
	defer cancel()
	klog.InfoS("Leaving the members of the store, as this replica is scaled down", "replicas", count)
	isExcess := func(member storage.MemberStatus) bool {
		ordinal, ok := m.ordinalOf(member)
		now, known := m.others.count() // It may be scaled up again.
		return ok && ordinal >= count && (!known || ordinal >= now)
	}
	if err := m.etcd.Leave(ctx, isExcess); err != nil {
		klog.ErrorS(err, "Cannot leave the members of the store; the leader removes this one")
	}
}
