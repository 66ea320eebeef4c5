package lifecycle

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

// TestWrongClocks runs a replica whose clock is an hour wrong, one whose clock has stopped, and
// one whose clock jumps with each write. They share no time, only a lease. The leader loses the
// store again and again.
func TestWrongClocks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		random := rand.New(rand.NewPCG(1, 2)) // It is to be repeatable.
		store := newLeaseStore()
		store.retryPeriod = 400 * time.Millisecond
		begin := time.Now()
		store.clock = func(name string, at time.Time) time.Time {
			switch name {
			case "ahead":
				return at.Add(time.Hour)
			case "stuck":
				return begin
			}
			return at.Add(time.Duration(random.Int64N(int64(2*time.Hour))) - time.Hour)
		}
		replicas := []*replica{startReplica(t, store, "ahead", 3), startReplica(t, store, "stuck", 3), startReplica(t, store, "jumps", 3)}
		var last *replica
		changes, longest, since := 0, time.Duration(0), time.Now()
		for second := range 250 {
			time.Sleep(time.Second) // by the fake clock of the bubble
			var leaders []*replica
			for _, r := range replicas {
				if r.election.Holds() {
					leaders = append(leaders, r)
				}
			}
			switch {
			case len(leaders) > 1:
				t.Fatalf("%s and %s lead at the same time", leaders[0].name, leaders[1].name)
			case len(leaders) == 0:
				longest = max(longest, time.Since(since))
				continue
			case leaders[0] != last:
				changes++
			}
			last, since = leaders[0], time.Now()
			if second%50 == 0 {
				cut := &last.cut
				cut.Store(true)
				time.AfterFunc(30*time.Second, func() { cut.Store(false) })
			}
		}
		if changes < 4 {
			t.Errorf("The leader changed %d times, although it lost the store 5 times", changes)
		}
		if limit := leaseDuration + 5*time.Second; longest > limit {
			t.Errorf("Nobody led for %s, want %s at most", longest, limit)
		}
	})
}
