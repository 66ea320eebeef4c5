package controlplane

import (
	"time"

	"k8s.io/utils/clock"
)

// sharedSeconds is the clock of all watch caches. Each cache checks once per second whether bookmarks
// are due. Their timers fire on whole seconds, so that all caches share one wake-up of the process.
// Timers of less than a second are not changed. During a list, a cache requests the progress of an
// external etcd every tenth of a second.
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

// align returns d rounded so that it ends on a whole second. It does not change less than a second.
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
