package storage

import (
	"context"
	"fmt"
	"time"

	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

const (
	// retryPeriod is the time between two attempts to open a store.
	retryPeriod = 5 * time.Second
	// firstRetry is the time after the first attempt. Each further one takes twice as
	// long, up to retryPeriod.
	firstRetry = 250 * time.Millisecond
	// repeatLog is how often an unchanged reason is logged.
	repeatLog = time.Minute
)

// Waiter retries while a store is unreachable or its settings are wrong. A process that ended instead would
// look like a crash of the virtual cluster, and most causes can be corrected without a restart.
type Waiter struct {
	// Clock drives the attempts. Default: the real one.
	Clock clock.Clock
	// Report receives why the store is not open. It is called when the reason changes,
	// and with an empty one at the end. Default: the reason is only logged.
	Report func(reason string)
}

// Retry calls attempt until it returns no error or ctx ends.
func (w Waiter) Retry(ctx context.Context, attempt func(ctx context.Context) error) error {
	if w.Clock == nil {
		w.Clock = clock.RealClock{}
	}
	reported, logged, pause := "", time.Time{}, firstRetry
	for {
		err := attempt(ctx)
		if err == nil {
			if reported != "" {
				klog.InfoS("Store opened")
				w.report("")
			}
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("cannot open the store: %w", err)
		}
		if reason := err.Error(); reason != reported {
			reported, logged = reason, time.Time{}
			w.report(reason)
		}
		if now := w.Clock.Now(); now.Sub(logged) >= repeatLog {
			logged = now
			klog.InfoS("Waiting for the store", "reason", reported)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("cannot open the store: %w", err)
		case <-w.Clock.After(pause):
			pause = min(2*pause, retryPeriod)
		}
	}
}

// Reset reports that there is no reason to wait.
func (w Waiter) Reset() { w.report("") }

func (w Waiter) report(reason string) {
	if w.Report != nil {
		w.Report(reason)
	}
}
