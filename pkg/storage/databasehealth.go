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
	// explain returns an error in words without secrets. nil: the error's own.
	explain func(error) error
	// up receives whether the database answers, when that changes. nil: nobody does.
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

// record notes the result of a request. It reports whether an error should be logged: at
// the first one, and each minute.
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

// setUp passes on whether the database answers.
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
