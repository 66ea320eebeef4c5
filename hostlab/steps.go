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

// poll asks until the answer is nil, the context ends or patience runs out. The
// error is then the last answer; an answer wrapped by [hopeless] ends it at once.
func poll(ctx context.Context, patience time.Duration, what string, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := ask(ctx)
		if err == nil {
			return nil
		}
		if final, ok := errors.AsType[permanentError](err); ok {
			return fmt.Errorf("no hope for %s: %w", what, final.error)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited %s in vain for %s: %w", patience, what, err)
		case <-ticker.C:
		}
	}
}

// permanentError is an answer that will not change.
type permanentError struct{ error }
