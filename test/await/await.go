// Package await waits in tests until something holds, and for changes. A test waits on a condition and
// never for a time: the machine may be busy with other tests.
package await

import (
	"context"
	"errors"
	"testing"
	"time"
)

const (
	// Limit is how long a test waits for what takes seconds on an idle machine.
	Limit = 4 * time.Minute
	// slow is how long a test waits until it logs what is missing.
	slow = 15 * time.Second
	// pause is the time between two checks.
	pause = 20 * time.Millisecond
)

// Until calls check until it returns nil. It fails the test with the last error of check
// when Limit is over.
func Until(t testing.TB, what string, check func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), Limit)
	defer cancel()
	begin := time.Now()
	err := poll(ctx, check, func(err error) { t.Logf("%s: not after %s: %v", what, time.Since(begin).Round(time.Second), err) })
	if err != nil {
		t.Fatalf("%s: not after %s: %v", what, Limit, err)
	}
}

// poll calls check until it returns nil or ctx ends. It returns the last error that is not
// that ctx has ended, and calls report with the last error each time that check was slow.
func poll(ctx context.Context, check func(ctx context.Context) error, report func(error)) error {
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	next := time.Now().Add(slow)
	var last error
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		if last == nil || ctx.Err() == nil || !errors.Is(err, ctx.Err()) {
			last = err
		}
		if now := time.Now(); now.After(next) {
			next = now.Add(slow)
			report(last)
		}
		select {
		case <-ctx.Done():
			return last
		case <-ticker.C:
		}
	}
}
