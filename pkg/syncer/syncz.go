package syncer

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// maxHeldShown is how many deletes that are held back /syncz names per kind.
const maxHeldShown = 10

// Syncz answers in plain text how far the engine is: a line for the host, one for
// the guard of the virtual store and some for each kind. The status is 200 if
// everything is synced and nothing is held back, else 503.
func (e *Engine) Syncz() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		text, well := e.report()
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		if !well {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_, _ = w.Write([]byte(text))
	})
}

// report is the text of /syncz, and whether all is well.
func (e *Engine) report() (string, bool) {
	var b strings.Builder
	well := true
	if cause := e.breaker.tripCause(); cause != nil {
		well = false
		fmt.Fprintf(&b, "[-] host: cannot be reached: %v\n", cause)
	} else {
		fmt.Fprintln(&b, "[+] host: reached")
	}
	if reason := e.storeGuard.onHold(); reason != "" {
		well = false
		fmt.Fprintf(&b, "[-] store: deletes on the host are held back: %s\n", reason)
	} else {
		fmt.Fprintln(&b, "[+] store: the recorded one")
	}
	for _, r := range e.listRunners() {
		lines, ok := r.report()
		well = well && ok
		b.WriteString(lines)
	}
	return b.String(), well
}

// report is the lines of one kind, and whether all is well with it.
func (r *runner) report() (string, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var b strings.Builder
	well := len(r.onHold) == 0 && len(r.parked) == 0
	switch lacks := r.notSyncedReasons(); {
	case len(lacks) > 0:
		well = false
		fmt.Fprintf(&b, "[-] %s: waits for %s\n", r.kind.name, strings.Join(lacks, "; "))
	default:
		fmt.Fprintf(&b, "[+] %s: synced, %d failing, %d mismatches found by scans\n", r.kind.name, len(r.failing), r.mismatch)
	}
	if len(r.parked) > 0 {
		fmt.Fprintf(&b, "    %d objects wait for the host\n", len(r.parked))
	}
	if len(r.onHold) > 0 {
		fmt.Fprintf(&b, "    %d deletes held back: %s\n", len(r.onHold), strings.Join(r.namesOnHold(), ", "))
	}
	if r.lastError != "" {
		fmt.Fprintf(&b, "    last error: %s\n", r.lastError)
	}
	return b.String(), well
}

// notSyncedReasons is what the kind waits for before it starts. The caller holds the lock.
func (r *runner) notSyncedReasons() []string {
	select {
	case <-r.synced:
		return nil
	default:
	}
	if r.startErr != "" {
		return []string{r.startErr}
	}
	var lacks []string
	for _, s := range r.watches {
		if text := s.notSyncedReason(); text != "" {
			lacks = append(lacks, text)
		}
	}
	if len(lacks) == 0 {
		return []string{"its start"}
	}
	return lacks
}

// namesOnHold are some of the objects whose deletion is held back. The caller holds
// the lock.
func (r *runner) namesOnHold() []string {
	names := make([]string, 0, len(r.onHold))
	for key := range r.onHold {
		names = append(names, key.String())
	}
	slices.Sort(names)
	if len(names) > maxHeldShown {
		names = append(names[:maxHeldShown], "…")
	}
	return names
}
