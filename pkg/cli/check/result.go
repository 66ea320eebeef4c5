package check

import (
	"fmt"
	"strings"

	"github.com/sublet-dev/sublet/pkg/cli/fault"
)

// The status of a check.
const (
	passed  = "ok"
	warned  = "warning"
	failed  = "failed"
	skipped = "skipped"
)

// maxListed bounds what a message lists.
const maxListed = 6

// result is what one check found.
type result struct {
	// Name is a contract: programs read it.
	Name string
	// Status is one of the constants above.
	Status string
	// Message is what was found.
	Message string
	// Fix is what to do. It is empty if there is nothing to do.
	Fix string
	// Code is the exit code of a check that failed. 0 means fault.Failed.
	Code int
}

// pass returns a result without anything to do.
func pass(name, format string, args ...any) result {
	return result{Name: name, Status: passed, Message: fmt.Sprintf(format, args...)}
}

// skip returns a result of a check that could not be made.
func skip(name, format string, args ...any) result {
	return result{Name: name, Status: skipped, Message: fmt.Sprintf(format, args...)}
}

// warn returns a result that keeps nothing from working.
func warn(name, fix, format string, args ...any) result {
	return result{Name: name, Status: warned, Message: fmt.Sprintf(format, args...), Fix: fix}
}

// fail returns a result that needs a fix.
func fail(name, fix, format string, args ...any) result {
	return result{Name: name, Status: failed, Message: fmt.Sprintf(format, args...), Fix: fix}
}

// failWith returns the result for an error, with the fix that it has.
func failWith(name string, err error) result {
	code, hint := fault.Classify(err)
	if hint == "" {
		hint = "Read the message: it comes from the host."
	}
	return result{Name: name, Status: failed, Message: err.Error(), Fix: hint, Code: code}
}

// exitError returns an error that only has the exit code, nil if no check failed. A host that does not
// answer has a code of its own.
func exitError(results []result) error {
	code := 0
	for _, r := range results {
		if r.Status == failed {
			code = max(code, fault.Failed)
			if r.Name == reachName && r.Code != 0 {
				code = r.Code
			}
		}
	}
	if code == 0 {
		return nil
	}
	return &fault.ExitError{Code: code}
}

// enumerate returns the first names of a list, and how many more there are.
func enumerate(names []string) string {
	if len(names) <= maxListed {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:maxListed], ", "), len(names)-maxListed)
}
