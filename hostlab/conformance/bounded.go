package conformance

import (
	_ "embed"
	"fmt"
	"regexp"
	"strings"
)

// bounded has the names of the specs of the bounded form, one a line. There are some of
// each SIG whose specs run at the same time and on one node. None takes long.
//
//go:embed bounded.txt
var bounded string

// Bounded returns the names of the specs of the bounded form. All of them pass on the host
// and in a virtual cluster.
func Bounded() []string { return strings.Split(strings.TrimSpace(bounded), "\n") }

// FocusOn returns a regular expression that matches the specs of these names. Ginkgo puts the
// name of the suite before that of the spec.
func FocusOn(names []string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = regexp.QuoteMeta(name)
	}
	return " (" + strings.Join(quoted, "|") + ")$"
}

// CheckPassed returns an error that lists the specs of these names that did not pass, and
// those that did not run.
func (r Results) CheckPassed(names []string) error {
	var failed []string
	for _, name := range names {
		if state := outcome(r, name); state != passed {
			failed = append(failed, fmt.Sprintf("%s: %s %s", state, shortName(name), reason(name, r[name].Message)))
		}
	}
	if len(failed) > 0 {
		return fmt.Errorf("%d of %d specs did not pass:\n%s", len(failed), len(names), strings.Join(failed, "\n"))
	}
	return nil
}
