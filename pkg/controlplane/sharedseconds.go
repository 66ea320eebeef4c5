package controlplane

import (
	"time"

	"k8s.io/utils/clock"
)

// sharedSeconds is the clock of all watch caches. Each of them looks once a second for
// bookmarks that are due. Its timers end on whole seconds, so that one wake-up of the process
// serves all caches. Shorter timers end as they are: while somebody lists, a cache asks an
// external etcd every tenth of a second how far it is.
type sharedSeconds struct {
	clock.WithTicker

	start time.Time
}

func newSharedSeconds(c clock.WithTicker) sharedSeconds {
	return sharedSeconds{WithTicker: c, start: c.Now()}
}

// NewTimer returns a timer that ends on a whole second, unless it is shorter than one.
func (s sharedSeconds) NewTimer(d time.Duration) clock.Timer {
	return sharedTimer{Timer: s.WithTicker.NewTimer(s.align(d)), clock: s}
}

// align returns the time until the whole second that is nearest to the end of d. It returns
// less than a second as it is.
func (s sharedSeconds) align(d time.Duration) time.Duration {
	if d < time.Second {
		return d
	}
	since := s.WithTicker.Since(s.start)
	return (since + d).Round(time.Second) - since
}

// sharedTimer is a timer of sharedSeconds.
type sharedTimer struct {
	clock.Timer

	clock sharedSeconds
}

// Reset starts the timer again, as [sharedSeconds.NewTimer] does.
func (t sharedTimer) Reset(d time.Duration) bool { return t.Timer.Reset(t.clock.align(d)) }
