package lifecycle

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	clienttesting "k8s.io/client-go/testing"
)

// TestLostLeaseEndsTermOnly takes the store from a leader whose part does not stop well. Its
// process continues, and leads again once the part has stopped. Time is simulated.
func TestLostLeaseEndsTermOnly(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		reason string
		// leave is what the part does after its context has ended.
		leave func() error
		// early ends the part when the store goes, before the lease does.
		early bool
	}{
		"late":  {"A busy machine needs long to stop a part.", func() error { <-time.After(2 * time.Minute); return nil }, false},
		"fails": {"A request of a part ends with an error of the store.", func() error { return errors.New("request timed out") }, false},
		"early": {"A part may fail before the elector looks at the clock, such as after a pause of the process.", nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { testLostLease(t, tc.reason, tc.leave, tc.early) })
		})
	}
}

// testLostLease runs one case of TestLostLeaseEndsTermOnly with a part that leaves as given.
func testLostLease(t *testing.T, reason string, leave func() error, early bool) {
	t.Helper()
	store := newLeaseStore()
	r := &replica{done: make(chan error, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	contested, gone := make(chan struct{}), make(chan struct{})
	close(contested)
	parts := []Part{
		{Name: "syncing", Leader: true, Run: func(ctx context.Context) error {
			if r.terms.Add(1) > 1 {
				<-ctx.Done()
				return nil
			}
			if early {
				<-gone
				return errors.New("connection lost")
			}
			<-ctx.Done()
			return leave()
		}},
		{Name: "api", Run: func(ctx context.Context) error { r.api.Add(1); <-ctx.Done(); r.api.Add(-1); return nil }},
	}
	election := &Election{
		Contested: contested, LeaseDuration: leaseDuration, RenewDeadline: leaseDuration / 3, RetryPeriod: time.Second,
		Leases: store.client(&r.cut).CoordinationV1(), Lease: testLease(), Identity: "shop-0",
	}
	go func() { r.done <- Run(ctx, parts, election) }()
	defer func() { cancel(); <-r.done }() //nolint:errcheck // the test reads it while it can be wrong

	<-time.After(leaseDuration + time.Second/2) // between two renewals
	synctest.Wait()
	if r.terms.Load() != 1 || !election.Holds() {
		t.Fatalf("it does not lead: %d terms", r.terms.Load())
	}
	r.cut.Store(true)
	if early {
		election.lock.mu.Lock()
		election.lock.renewed = time.Now().Add(-2 * leaseDuration) // as after a pause
		election.lock.mu.Unlock()
		close(gone)
	}
	<-time.After(2 * leaseDuration)
	if election.Holds() || r.api.Load() != 1 || len(r.done) != 0 {
		t.Errorf("%s Holds %t, %d APIs run, %d processes have ended, want false, 1 and 0", reason, election.Holds(), r.api.Load(), len(r.done))
	}
	r.cut.Store(false)
	<-time.After(5 * time.Minute)
	if terms := r.terms.Load(); terms != 2 || !election.Holds() || r.api.Load() != 1 || len(r.done) != 0 {
		t.Errorf("%s After the store is back: %d terms, holds %t, %d APIs run", reason, terms, election.Holds(), r.api.Load())
	}
}

// TestReleaseAfterParts lets the renewals of a leader fail until it gives up, and the store respond
// again before its part has stopped. The lease is released only then: a follower would lead at
// once. Time is simulated.
func TestReleaseAfterParts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, testReleaseAfterParts)
}

func testReleaseAfterParts(t *testing.T) {
	store := newLeaseStore()
	r := &replica{done: make(chan error, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	contested, stopping, stopped := make(chan struct{}), make(chan struct{}), make(chan struct{})
	close(contested)
	parts := []Part{{Name: "syncing", Leader: true, Run: func(ctx context.Context) error {
		term := r.terms.Add(1)
		<-ctx.Done()
		if term == 1 {
			close(stopping)
			<-time.After(time.Minute)
			close(stopped)
		}
		return nil
	}}}
	election := &Election{
		Contested: contested, LeaseDuration: leaseDuration, RenewDeadline: leaseDuration / 3, RetryPeriod: 2 * time.Second,
		Leases: store.client(&r.cut).CoordinationV1(), Lease: testLease(), Identity: "shop-0",
	}
	go func() { r.done <- Run(ctx, parts, election) }()
	defer func() { cancel(); <-r.done }() //nolint:errcheck // the test reads it while it can be wrong

	<-time.After(leaseDuration + time.Second/2) // between two renewals
	r.cut.Store(true)
	<-time.After(election.RenewDeadline) // All renewals within the deadline have failed, and the last has not passed.
	r.cut.Store(false)
	<-stopping
	for _, wait := range []time.Duration{0, leaseDuration, leaseDuration} {
		<-time.After(wait)
		synctest.Wait()
		if holder := store.holder(t); holder != "shop-0" || store.countReleases() != 0 {
			t.Errorf("The part still runs: the holder is %q after %d releases, want shop-0 and none", holder, store.countReleases())
		}
	}
	if election.Holds() {
		t.Error("It holds a lease that it has not renewed.")
	}
	<-stopped
	synctest.Wait()
	if got := store.countReleases(); got != 1 {
		t.Errorf("The part has stopped: %d releases, want one", got)
	}
	<-time.After(leaseDuration)
	if terms := r.terms.Load(); terms != 2 || len(r.done) != 0 {
		t.Errorf("%d terms, %d processes have ended, want 2 and none", terms, len(r.done))
	}
}

// countReleases returns how many updates of the lease have removed its holder.
func (s *leaseStore) countReleases() int {
	count := 0
	for _, action := range s.Actions() {
		update, ok := action.(clienttesting.UpdateAction)
		if !ok || action.GetVerb() != "update" {
			continue
		}
		if holder := update.GetObject().(*coordinationv1.Lease).Spec.HolderIdentity; holder == nil || *holder == "" {
			count++
		}
	}
	return count
}
