// Package syncz holds the answer of /syncz: the health of each part of the
// server, as structured data. Parts return checks, the server serves them, and
// the command line decodes them.
package syncz

import (
	"strings"
	"unicode"
)

// Report is the body of /syncz.
type Report struct {
	// Healthy is true if every check is.
	Healthy bool `json:"healthy"`
	// Checks has one entry per part, in the order of the start.
	Checks []Check `json:"checks"`
}

// Check is the health of one part, or of one aspect of it.
type Check struct {
	// Name is unique and stable: "store", "pods", "watch host pods".
	Name string `json:"name"`
	// Healthy is false while the part cannot do all of its work.
	Healthy bool `json:"healthy"`
	// Message is one sentence on the state. It is stable text without names of
	// host objects, so that a tenant may read it.
	Message string `json:"message,omitempty"`
	// Details are lines for the operator alone. They may name host objects and
	// quote errors of the host. The virtual API never serves them.
	Details []string `json:"details,omitempty"`
}

// NewReport returns a report of checks. It is healthy if each check is.
func NewReport(checks ...Check) Report {
	report := Report{Healthy: true, Checks: checks}
	for _, check := range checks {
		report.Healthy = report.Healthy && check.Healthy
	}
	return report
}

// ForTenant returns a copy of the report without the operator's details.
func (r Report) ForTenant() Report {
	checks := make([]Check, len(r.Checks))
	for i, check := range r.Checks {
		check.Details = nil
		checks[i] = check
	}
	return Report{Healthy: r.Healthy, Checks: checks}
}

// Printable returns a copy of the report for a terminal: each text is one [Line].
func (r Report) Printable() Report {
	checks := make([]Check, len(r.Checks))
	for i, check := range r.Checks {
		checks[i] = Check{Name: Line(check.Name), Healthy: check.Healthy, Message: Line(check.Message)}
		for _, detail := range check.Details {
			checks[i].Details = append(checks[i].Details, Line(detail))
		}
	}
	return Report{Healthy: r.Healthy, Checks: checks}
}

// Line returns a text as one line without characters that control a terminal. A tenant chooses
// parts of many texts, such as the message of a policy that denies a request of the syncer.
func Line(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsPrint(r):
			return r
		case unicode.IsSpace(r):
			return ' '
		}
		return unicode.ReplacementChar
	}, text)
}
