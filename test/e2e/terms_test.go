//go:build e2e

package e2e

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// termWrite is a write of a leader that the host has accepted.
type termWrite struct {
	agent          string
	epoch          uint64
	received, done time.Time
}

// checkTerms returns an error if the host accepted a write of a leader after one
// of a later leader. The user agent of such writes names the term, as in
// "sublet/v1 leader/shop-1/7". It returns nil for a host without audit log.
func checkTerms(started time.Time) error {
	files, err := auditFiles()
	if err != nil {
		return err
	}
	granted.mu.Lock()
	defer granted.mu.Unlock()
	writes := map[string][]termWrite{} // by user name and number of its release
	for _, file := range files {
		err := eachEvent(file, started, func(event auditEvent) {
			user, at := event.User.Username, event.RequestReceivedTimestamp
			number := slices.IndexFunc(granted.lives[user], func(l life) bool { return l.existedAt(at) })
			if write, ok := parseTerm(event); ok && number >= 0 {
				release := fmt.Sprintf("%s, release %d", user, number+1)
				writes[release] = append(writes[release], write)
			}
		})
		if err != nil {
			return err
		}
	}
	for release, all := range writes {
		if err := checkOrder(all); err != nil {
			return fmt.Errorf("%s: %w", release, err)
		}
	}
	return nil
}

// parseTerm returns the write that an event of the audit log records. ok is false for other
// requests.
func parseTerm(event auditEvent) (write termWrite, ok bool) {
	_, term, isLeader := strings.Cut(event.UserAgent, " leader/")
	_, text, _ := strings.Cut(term, "/")
	epoch, err := strconv.ParseUint(text, 10, 64)
	if !isLeader || err != nil || event.ResponseStatus.Code >= 300 {
		return termWrite{}, false
	}
	return termWrite{event.UserAgent, epoch, event.RequestReceivedTimestamp, event.StageTimestamp}, true
}

// checkOrder returns an error if a write was received after one of a later term was answered.
func checkOrder(writes []termWrite) error {
	byAnswer := slices.SortedFunc(slices.Values(writes), func(a, b termWrite) int { return a.done.Compare(b.done) })
	slices.SortFunc(writes, func(a, b termWrite) int { return cmp.Or(a.received.Compare(b.received), cmp.Compare(a.epoch, b.epoch)) })
	var latest termWrite
	for _, write := range writes {
		for len(byAnswer) > 0 && byAnswer[0].done.Before(write.received) {
			if byAnswer[0].epoch > latest.epoch {
				latest = byAnswer[0]
			}
			byAnswer = byAnswer[1:]
		}
		if write.epoch < latest.epoch {
			return fmt.Errorf("two leaders wrote: %s at %s, after %s at %s", write.agent, write.received, latest.agent, latest.done)
		}
	}
	return nil
}
