package controlplane

import (
	"testing"
	"time"

	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
)

// TestSharedSeconds shows when timers of some lengths end, as seen from a time.
func TestSharedSeconds(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		reason   string
		since, d time.Duration
		want     time.Duration
		again    time.Duration // after it has ended and starts again
	}{
		{"A second with jitter is one second,", 10 * time.Second, 1240 * time.Millisecond, time.Second, time.Second},
		{"from whatever time it starts.", 10300 * time.Millisecond, 1100 * time.Millisecond, 700 * time.Millisecond, time.Second},
		{"A reader who waits for a report of the store does not wait for a second.", 10100 * time.Millisecond, 100 * time.Millisecond, 100 * time.Millisecond, 100 * time.Millisecond},
		{"Long times are rounded.", 10 * time.Second, 61700 * time.Millisecond, 62 * time.Second, 62 * time.Second},
		{"No time is no time,", 10300 * time.Millisecond, 0, 0, 0},
		{"also in the second half of a second.", 10700 * time.Millisecond, 0, 0, 0},
	} {
		fake := clocktesting.NewFakeClock(time.Unix(1000, 0))
		shared := newSharedSeconds(fake)
		fake.Step(c.since)
		if got := shared.align(c.d); got != c.want {
			t.Errorf("%s %s at %s: got %s, want %s", c.reason, c.d, c.since, got, c.want)
		}
		timer := shared.NewTimer(c.d)
		fake.Step(max(c.want, 0))
		if !hasEnded(timer) {
			t.Errorf("%s %s at %s: the timer has not ended", c.reason, c.d, c.since)
		}
		if c.again == 0 {
			continue
		}
		timer.Reset(c.d)
		if fake.Step(c.again - 1); hasEnded(timer) {
			t.Errorf("%s %s at %s: the timer ended too early after a reset", c.reason, c.d, c.since)
		}
		if fake.Step(1); !hasEnded(timer) {
			t.Errorf("%s %s at %s: the timer has not ended after a reset", c.reason, c.d, c.since)
		}
	}
}

// hasEnded reports whether a timer has ended.
func hasEnded(timer clock.Timer) bool {
	select {
	case <-timer.C():
		return true
	default:
		return false
	}
}
