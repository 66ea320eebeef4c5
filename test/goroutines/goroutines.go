// Package goroutines fails the tests of a package that leave goroutines behind.
package goroutines

import (
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

const (
	// limit is how long goroutines may take to end after the last test, on a busy machine.
	limit = 3 * time.Minute
	// pause is the time between two checks. Each one takes a moment itself, as goleak repeats it.
	pause = 100 * time.Millisecond
)

// Verify runs the tests of a package and exits with their status. If all pass, it fails unless
// every goroutine but the ignored ones ends. It is what a TestMain calls.
func Verify(m *testing.M, ignored ...goleak.Option) {
	status := m.Run()
	if status == 0 {
		if err := await(limit, ignored...); err != nil {
			fmt.Fprintf(os.Stderr, "panic: goroutines are left after %s, though all tests passed: %v\n", limit, err)
			status = 1
		}
	}
	os.Exit(status)
}

// await returns nil as soon as no goroutine is left, and what is left after the limit.
func await(limit time.Duration, ignored ...goleak.Option) error {
	for end := time.Now().Add(limit); ; time.Sleep(pause) {
		if err := goleak.Find(ignored...); err == nil || time.Now().After(end) {
			return err
		}
	}
}
