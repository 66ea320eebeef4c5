package controlplane

import (
	"time"

	"k8s.io/utils/clock"
)

// sharedSeconds is the clock of all watch caches. Each of them looks once a second for
// bookmarks that are due. Its timers end on whole seconds, so that one wake-up of the process
// serves all caches.
type sharedSeconds struct {
	clock.WithTicker

	start time.Time
}

func newSharedSeconds(c clock.WithTicker) sharedSeconds {
	return sharedSeconds{WithTicker: c, start: c.Now()}
}

// NewTimer returns a timer that ends on a whole second.
func (s sharedSeconds) NewTimer(d time.Duration) clock.Timer {
	return sharedTimer{Timer: s.WithTicker.NewTimer(s.align(d)), clock: s}
}

// align returns the time until the whole second that is nearest to the end of d. It is always
// in the future.
func (s sharedSeconds) align(d time.Duration) time.Duration {
	since := s.WithTicker.Since(s.start)
	wait := (since + d).Round(time.Second) - since
	if d > 0 && wait <= 0 {
		wait += time.Second
	}
	return wait
}

// sharedTimer is a timer of sharedSeconds.
type sharedTimer struct {
	clock.Timer

	clock sharedSeconds
}

// Reset starts the timer again. It ends on a whole second.
func (t sharedTimer) Reset(d time.Duration) bool { return t.Timer.Reset(t.clock.align(d)) }
