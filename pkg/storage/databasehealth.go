package storage

import (
	"sync"
	"time"

	"k8s.io/klog/v2"

	"github.com/sublet-dev/sublet/api/syncz"
)

// healthRepeat is the shortest time between two log lines of the same outage.
const healthRepeat = time.Minute

// databaseHealth records the results of the last requests to the database.
type databaseHealth struct {
	// explain returns the message of an error without secrets. nil means the error's own message.
	explain func(error) error
	// observed shows whether the database answers. nil shows nothing.
	observed *storeMetrics

	mu     sync.Mutex
	cause  string
	since  time.Time
	logged time.Time
}

// watch sets how errors are explained, and the metrics that show whether the database answers.
func (h *databaseHealth) watch(explain func(error) error, observed *storeMetrics) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.explain, h.observed = explain, observed
}

// record records the result of a request. It reports whether an error should be logged, which is true for
// the first error of an outage and then once a minute.
func (h *databaseHealth) record(err error) (shouldLog bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err == nil {
		if h.cause != "" {
			klog.InfoS("The database answers again", "duration", time.Since(h.since).Round(time.Millisecond)) //nolint:forbidigo // for people
			if h.observed != nil {
				h.observed.recordUp()
			}
		}
		h.cause = ""
		return false
	}
	now := time.Now() //nolint:forbidigo // for people
	if h.cause == "" {
		if h.observed != nil {
			h.observed.recordDown()
		}
		h.since = now
	}
	if h.explain != nil {
		err = h.explain(err)
	}
	h.cause = err.Error()
	if now.Sub(h.logged) < healthRepeat {
		return false
	}
	h.logged = now
	return true
}

// reason returns why the database does not answer.
func (h *databaseHealth) reason() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.cause
}

// check returns the health of the connection to the database of the given name.
func (h *databaseHealth) check(name string) syncz.Check {
	h.mu.Lock()
	defer h.mu.Unlock()
	check := syncz.Check{Name: "store connection", Healthy: true, Message: "The store answers.", Details: []string{name}}
	if h.cause != "" {
		check.Healthy = false
		check.Message = "The store does not respond. Writes resume by themselves once it does."
		check.Details = append(check.Details, h.cause)
	}
	return check
}
