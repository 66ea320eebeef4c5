package lifecycle

import (
	"context"
	"errors"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// holder returns the holder of the lease in the store.
func (s *leaseStore) holder(t *testing.T) string {
	t.Helper()
	lease, err := s.CoordinationV1().Leases("kube-system").Get(context.WithoutCancel(t.Context()), "sublet-leader", metav1.GetOptions{})
	if err != nil || lease.Spec.HolderIdentity == nil {
		return ""
	}
	return *lease.Spec.HolderIdentity
}

// TestFirstCompetitor starts a replica alone, and lets others compete later. Its term
// continues, and the others follow.
func TestFirstCompetitor(t *testing.T) {
	t.Parallel()
	store := newLeaseStore()
	store.duration = time.Hour // The term ends if taking the lease takes longer than a third of this.
	first := startReplica(t, store, "shop-0", 1)
	eventually(t, "it leads alone", func() bool { return first.leading.Load() && first.election.Holds() })
	if holder := store.holder(t); holder != "" {
		t.Errorf("a single replica took the lease: %s", holder)
	}
	close(first.contested)
	eventually(t, "it takes the lease", func() bool { return store.holder(t) == "shop-0" })
	second := startReplica(t, store, "shop-1", 2)
	eventually(t, "the second serves", func() bool { return second.api.Load() == 1 })
	if first.terms.Load() != 1 || !first.leading.Load() || !first.election.Holds() || second.election.Holds() {
		t.Errorf("%d terms of the first, which leads: %t", first.terms.Load(), first.leading.Load())
	}
}

// TestFirstCompetitorWasFaster lets a replica that led alone meet a lease that another one
// holds. Its term ends.
func TestFirstCompetitorWasFaster(t *testing.T) {
	t.Parallel()
	store := newLeaseStore()
	first := startReplica(t, store, "shop-0", 1)
	eventually(t, "it leads alone", first.leading.Load)
	second := startReplica(t, store, "shop-1", 2)
	eventually(t, "the second leads", second.leading.Load)
	close(first.contested)
	eventually(t, "the first follows", func() bool { return !first.leading.Load() && !first.election.Holds() })
	if !second.leading.Load() {
		t.Error("the holder of the lease does not lead any more")
	}
}

// TestReleaseIsSeenAtOnce stops a leader. The follower watches the lease, so that it leads
// long before the lease would expire.
func TestReleaseIsSeenAtOnce(t *testing.T) {
	t.Parallel()
	store := newLeaseStore()
	store.duration = time.Hour
	first := startReplica(t, store, "shop-0", 2)
	eventually(t, "the first leads", first.leading.Load)
	second := startReplica(t, store, "shop-1", 2)
	eventually(t, "the second follows", func() bool { return second.api.Load() == 1 })
	first.stop()
	first.done <- <-first.done
	eventually(t, "the second leads", second.leading.Load)
}

// TestTermEnds lets a leader part find that another replica leads. The term ends, the
// process continues.
func TestTermEnds(t *testing.T) {
	t.Parallel()
	r := startReplica(t, newLeaseStore(), "shop-0", 2)
	eventually(t, "it leads", r.leading.Load)
	r.fail <- ErrTermEnded
	eventually(t, "it leads again", func() bool { return r.terms.Load() == 2 })
	if r.api.Load() != 1 || len(r.done) != 0 {
		t.Error("the end of the term ended the process")
	}
}

// TestObservedLock holds what client-go's elector does not promise. A replica that was
// suspended does not count as the leader, and does not release the lease of its successor.
func TestObservedLock(t *testing.T) {
	t.Parallel()
	store := newLeaseStore()
	lock := func(identity string) *observedLock {
		return newObservedLock(store.client().CoordinationV1(), testLease(), identity, leaseDuration)
	}
	first, second := lock("shop-0"), lock("shop-1")
	if _, vacant := first.observe(t.Context()); !vacant {
		t.Error("a lease that does not exist is not vacant")
	}
	if err := first.Create(t.Context(), resourcelock.LeaderElectionRecord{HolderIdentity: "shop-0", RenewTime: metav1.Now()}); err != nil {
		t.Fatal(err)
	}
	if !first.isHeld() {
		t.Error("it does not hold the lease that it has created")
	}
	eventually(t, "the second sees that the lease has expired", func() bool { _, vacant := second.observe(t.Context()); return vacant })
	if first.isHeld() {
		t.Error("it holds a lease that others may take")
	}
	record, _, err := second.Get(t.Context())
	if err != nil || record.HolderIdentity != "" {
		t.Fatalf("the expired lease has the holder %+v, %v", record, err)
	}
	if err := second.Update(t.Context(), resourcelock.LeaderElectionRecord{HolderIdentity: "shop-1", RenewTime: metav1.Now()}); err != nil {
		t.Fatal(err)
	}
	if err := first.release(t.Context()); err != nil {
		t.Error(err)
	}
	if got := store.holder(t); got != "shop-1" || !second.isHeld() {
		t.Errorf("the holder is %q", got)
	}
	if err := second.release(t.Context()); err != nil {
		t.Error(err)
	}
	if got := store.holder(t); got != "" || second.isHeld() {
		t.Errorf("after its release, the holder is %q", got)
	}
}

// TestReleaseRetries lets a renewal of the same replica take effect between the read and the write of its release. A
// lock that was never claimed sends nothing.
func TestReleaseRetries(t *testing.T) {
	t.Parallel()
	store := newLeaseStore()
	client := store.client()
	conflicts := 0
	client.PrependReactor("update", "leases", func(clienttesting.Action) (bool, runtime.Object, error) {
		conflicts++
		return conflicts == 1, nil, apierrors.NewConflict(coordinationv1.Resource("leases"), "sublet-leader", errors.New("changed"))
	})
	lock := newObservedLock(client.CoordinationV1(), testLease(), "shop-0", leaseDuration)
	if err := lock.release(t.Context()); err != nil || len(client.Actions()) != 0 {
		t.Errorf("before it has claimed the lease: %v, %d requests, want none", err, len(client.Actions()))
	}
	if err := lock.Create(t.Context(), resourcelock.LeaderElectionRecord{HolderIdentity: "shop-0", RenewTime: metav1.Now()}); err != nil {
		t.Fatal(err)
	}
	if err := lock.release(t.Context()); err != nil {
		t.Error(err)
	}
	if got := store.holder(t); got != "" || lock.isHeld() || conflicts != 2 {
		t.Errorf("after its release, the holder is %q after %d updates, want none after 2", got, conflicts)
	}
}

// watch calls changed after each write to the store.
func (s *leaseStore) watch(ctx context.Context, changed func()) {
	watcher, err := s.CoordinationV1().Leases("kube-system").Watch(ctx, metav1.ListOptions{})
	if err != nil {
		return
	}
	defer watcher.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case event := <-watcher.ResultChan():
			if _, ok := event.Object.(*coordinationv1.Lease); ok {
				changed()
			}
		}
	}
}
