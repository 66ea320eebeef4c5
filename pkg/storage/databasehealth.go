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
	// up is called when the database stops or starts to answer. nil does nothing.
	up func(bool)

	mu     sync.Mutex
	cause  string
	since  time.Time
	logged time.Time
}

// watch sets how errors are explained, and who receives whether the database answers.
func (h *databaseHealth) watch(explain func(error) error, up func(bool)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.explain, h.up = explain, up
}

// record records the result of a request. It reports whether an error should be logged, which is true for
// the first error of an outage and then once a minute.
func (h *databaseHealth) record(err error) (shouldLog bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err == nil {
		if h.cause != "" {
			klog.InfoS("The database answers again", "duration", time.Since(h.since).Round(time.Millisecond)) //nolint:forbidigo // for people
			h.setUp(true)
		}
		h.cause = ""
		return false
	}
	now := time.Now() //nolint:forbidigo // for people
	if h.cause == "" {
		h.setUp(false)
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

// setUp reports to up whether the database answers.
func (h *databaseHealth) setUp(up bool) {
	if h.up != nil {
		h.up(up)
	}
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
