package storage

import (
	"sync"
	"time"

	"k8s.io/klog/v2"

	"github.com/sublet-dev/sublet/api/syncz"
)

// healthRepeat is the shortest time between two log lines of the same outage.
const healthRepeat = time.Minute

// databaseHealth is what the last requests to the database said.
type databaseHealth struct {
	// describe returns the cause in words without secrets. nil: the error's own.
	describe func(error) string

	mu     sync.Mutex
	cause  string
	since  time.Time
	logged time.Time
}

// record notes the result of a request. It reports whether an error should be logged: at
// the first one, and each minute.
func (h *databaseHealth) record(err error) (shouldLog bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err == nil {
		if h.cause != "" {
			klog.InfoS("The database answers again", "duration", time.Since(h.since).Round(time.Millisecond)) //nolint:forbidigo // for people
		}
		h.cause = ""
		return false
	}
	now := time.Now() //nolint:forbidigo // for people
	if h.cause == "" {
		h.since = now
		h.logged = time.Time{}
	}
	h.cause = err.Error()
	if h.describe != nil {
		h.cause = h.describe(err)
	}
	if now.Sub(h.logged) < healthRepeat {
		return false
	}
	h.logged = now
	return true
}

// check returns the health of the connection to the database.
func (h *databaseHealth) check() syncz.Check {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.cause == "" {
		return syncz.Check{Name: "database", Healthy: true, Message: "The database answers."}
	}
	return syncz.Check{
		Name: "database", Message: "The database does not respond. It is asked again until it does.", Details: []string{h.cause},
	}
}
