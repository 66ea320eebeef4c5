package lifecycle

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
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
