package hostlab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// steps prints what is done and how long it took.
type steps struct {
	out io.Writer
}

// run runs one step and prints its line.
func (s *steps) run(name string, step func() error) error {
	start := time.Now()
	err := step()
	result := ""
	if err != nil {
		result = "  FAILED"
	}
	_, _ = fmt.Fprintf(s.out, "host: %-44s %6.2f s%s\n", name, time.Since(start).Seconds(), result)
	return err
}

// poll calls check until it returns nil, the context ends or the timeout is over. It then
// returns the last error. A [permanentError] ends it at once.
func poll(ctx context.Context, timeout time.Duration, what string, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		if final, ok := errors.AsType[permanentError](err); ok {
			return fmt.Errorf("cannot wait for %s: %w", what, final.error)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("cannot wait longer than %s for %s: %w", timeout, what, err)
		case <-ticker.C:
		}
	}
}

// permanentError is an error that will not change by waiting.
type permanentError struct{ error }
