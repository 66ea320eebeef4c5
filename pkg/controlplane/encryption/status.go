package encryption

import (
	"fmt"
	"sync"

	"k8s.io/component-base/metrics"

	"github.com/sublet-dev/sublet/api/syncz"
	"github.com/sublet-dev/sublet/pkg/meter"
)

// state is how far the rewriting is.
type state int

const (
	stateOff       state = iota // nothing is encrypted, and nothing will be
	stateWaiting                // for the leader, or for replicas that write otherwise
	stateRewriting              // under way
	stateHistory                // for the end of old revisions
	stateDone                   // everything is stored as the settings want it
)

// status is what is known about the rewriting.
type status struct {
	mu        sync.Mutex
	state     state
	key       string // the key in use once done, empty for plain values
	resource  string
	seen      int // in this pass over the resource
	rewritten int
	lastError string
}

// processMetrics are the metrics of the process.
type processMetrics struct {
	pending   *metrics.Gauge
	rewritten *metrics.Counter
}

var registered = sync.OnceValue(func() processMetrics { //nolint:gochecknoglobals // a metric is one per process
	return processMetrics{
		pending: meter.Gauge("sublet_encryption_rewrite_pending",
			"1 while stored values may not be encrypted as the settings want it, or a key that is not in use is still needed."),
		rewritten: meter.Counter("sublet_encryption_rewritten_total",
			"Stored values that were rewritten because their encryption was not as the settings want it."),
	}
})

// set changes the state.
func (s *status) set(next state) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state, s.lastError, s.seen = next, "", 0
	if next != stateOff {
		registered().pending.Set(1)
	}
}

// isOff reports whether nothing is encrypted, and nothing will be.
func (s *status) isOff() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state == stateOff
}

// progress counts values that a pass has seen.
func (s *status) progress(resource string, count int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.resource != resource || s.state != stateRewriting {
		s.seen = 0
	}
	s.state, s.resource, s.lastError = stateRewriting, resource, ""
	s.seen += count
}

// rewrote counts a value that was rewritten.
func (s *status) rewrote() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rewritten++
	registered().rewritten.Inc()
}

// fail records why the rewriting waits.
func (s *status) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastError = err.Error()
}

// recordComplete records that everything is stored as the settings want it.
func (s *status) recordComplete(key *Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == stateOff {
		return
	}
	s.state, s.lastError, s.key = stateDone, "", ""
	if key != nil {
		s.key = key.Name
	}
	registered().pending.Set(0)
}

// Checks returns the health of the encryption. It is empty if nothing is encrypted.
func (e *Encryption) Checks() []syncz.Check {
	s := &e.status
	s.mu.Lock()
	defer s.mu.Unlock()
	check := syncz.Check{Name: "encryption", Healthy: s.lastError == ""}
	switch s.state {
	case stateOff:
		return nil
	case stateWaiting:
		check.Message = "Waiting until all replicas write alike. Keep all keys."
	case stateRewriting:
		check.Message = "Stored values are being rewritten. Keep all keys."
		check.Details = append(check.Details, fmt.Sprintf("%s: %d values seen in this pass, %d rewritten since the start", s.resource, s.seen, s.rewritten))
	case stateHistory:
		check.Message = "All values are rewritten. Keep all keys until old revisions have ended."
	case stateDone:
		check.Message = "Values are encrypted. Only the first key is needed."
		if s.key == "" {
			check.Message = "No value is encrypted any more. No key is needed."
		} else {
			check.Details = append(check.Details, "key: "+s.key)
		}
	}
	if s.lastError != "" {
		check.Details = append(check.Details, s.lastError)
	}
	return []syncz.Check{check}
}
