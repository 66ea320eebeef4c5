package syncer

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sublet-dev/sublet/api/syncz"
)

// maxDetails is how many objects the details of a check name.
const maxDetails = 10

// Checks returns the health of the engine. There is one check each for the host, the
// store guard and the watches, one for each watch that fails, and one for each kind.
func (e *Engine) Checks() []syncz.Check {
	checks := []syncz.Check{e.checkHost(), e.checkStore()}
	checks = append(checks, e.checkWatches()...)
	for _, r := range e.listRunners() {
		checks = append(checks, r.check())
	}
	return append(checks, e.leftovers.list()...)
}

// checkHost returns whether the host's API server can be reached.
func (e *Engine) checkHost() syncz.Check {
	if cause := e.breaker.tripCause(); cause != nil {
		return syncz.Check{
			Name: "host", Message: "Host API server unreachable, syncing is paused.",
			Details: []string{cause.Error()},
		}
	}
	return syncz.Check{Name: "host", Healthy: true, Message: "Host API server reachable."}
}

// checkWatches returns a check of all watches, and one for each that fails. Those
// of a host that is away are left out.
func (e *Engine) checkWatches() []syncz.Check {
	var failing []syncz.Check
	total, working := 0, 0
	for _, side := range []*connection{e.virtual, e.host} {
		for _, w := range side.watches.list() {
			total++
			failure := w.check()
			if failure == nil {
				working++
			}
			if failure == nil || side.watches.away() != nil {
				continue
			}
			failing = append(failing, syncz.Check{
				Name: "watch " + w.name, Message: "The watch fails, changes are not seen.",
				Details: []string{failure.Error()},
			})
		}
	}
	slices.SortFunc(failing, func(a, b syncz.Check) int { return strings.Compare(a.Name, b.Name) })
	all := syncz.Check{Name: "watches", Healthy: working == total, Message: fmt.Sprintf("%d of %d watches work.", working, total)}
	return append([]syncz.Check{all}, failing...)
}

// StoreHold returns why the virtual store is not the recorded one, empty if it is or if the operator
// has accepted it. compared is false until that is known.
func (e *Engine) StoreHold() (reason string, compared bool) {
	e.storeGuard.mu.Lock()
	defer e.storeGuard.mu.Unlock()
	return e.storeGuard.reason, e.storeGuard.reason != reasonNotCompared
}

// checkStore returns whether deletes on the host are on hold.
func (e *Engine) checkStore() syncz.Check {
	if e.options.Standby && !e.isLeading() {
		return syncz.Check{Name: "store guard", Healthy: true, Message: "On standby, nothing is written."}
	}
	if reason := e.storeGuard.onHold(); reason != "" {
		return syncz.Check{
			Name: "store guard", Message: "Deletes on the host are on hold until the store is accepted.",
			Details: []string{reason},
		}
	}
	return syncz.Check{Name: "store guard", Healthy: true, Message: "The store is the recorded one."}
}

// check returns the health of one kind.
func (r *runner) check() syncz.Check {
	r.mu.Lock()
	defer r.mu.Unlock()
	check := syncz.Check{Name: r.kind.name}
	if reasons := r.notSyncedReasons(); len(reasons) > 0 {
		check.Message = "Caches are not synced."
		check.Details = reasons
		return check
	}
	var problems []string
	count := func(n int, text string) {
		if n > 0 {
			problems = append(problems, fmt.Sprintf(text, n))
		}
	}
	count(len(r.parked), "%d objects wait for the host")
	count(len(r.onHold), "%d objects are on hold")
	count(len(r.panicking), "%d objects end in a panic")
	check.Healthy = len(problems) == 0
	count(len(r.failing), "%d objects are retried")
	count(r.mismatch, "full scans found %d differences")
	check.Message = strings.Join(append([]string{"Synced"}, problems...), ", ") + "."
	check.Details = r.details()
	return check
}

// details returns lines about the objects that are not in sync. The caller holds
// the lock.
func (r *runner) details() []string {
	var held []string
	for key := range r.onHold {
		held = append(held, "on hold: "+key.String())
	}
	lines := append(shorten(held), shorten(slices.Collect(maps.Values(r.panicking)))...)
	if len(r.failing) > 0 && r.lastError != "" {
		lines = append(lines, "last error: "+r.lastError)
	}
	return lines
}

// shorten returns the first of the sorted lines.
func shorten(lines []string) []string {
	slices.Sort(lines)
	if len(lines) > maxDetails {
		lines = append(lines[:maxDetails:maxDetails], fmt.Sprintf("and %d more", len(lines)-maxDetails))
	}
	return lines
}

// notSyncedReasons returns what the kind waits for before it starts. The caller
// holds the lock.
func (r *runner) notSyncedReasons() []string {
	select {
	case <-r.synced:
		return nil
	default:
	}
	if r.startErr != "" {
		return []string{r.startErr}
	}
	var reasons []string
	for _, w := range r.watches {
		if reason := w.notSyncedReason(); reason != "" {
			reasons = append(reasons, reason)
		}
	}
	if len(reasons) == 0 {
		return []string{"not started"}
	}
	return reasons
}
