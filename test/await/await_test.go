package await

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

func TestUntil(t *testing.T) {
	t.Parallel()
	calls := 0
	Until(t, "the third call", func(context.Context) error {
		if calls++; calls < 3 {
			return errors.New("too early")
		}
		return nil
	})
	if calls != 3 {
		t.Errorf("%d calls, want 3", calls)
	}
}

func TestPoll(t *testing.T) {
	t.Parallel()
	missing := errors.New("missing")
	for _, c := range []struct {
		reason  string
		check   func(ctx context.Context) error
		want    error
		reports int
	}{
		{"success needs no further call", func(context.Context) error { return nil }, nil, 0},
		{"the last error is returned, and reported on the way", func(context.Context) error { return missing }, missing, 3},
		{"the end of the wait is no reason", func(ctx context.Context) error {
			if ctx.Err() != nil {
				return fmt.Errorf("get: %w", ctx.Err())
			}
			return missing
		}, missing, 3},
		{"it is one if there is no other", func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}, context.DeadlineExceeded, 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			reports := 0
			if err := poll(ctx, c.check, func(error) { reports++ }); !errors.Is(err, c.want) {
				t.Errorf("%s: got %v, want %v", c.reason, err, c.want)
			}
			if reports != c.reports {
				t.Errorf("%s: %d reports, want %d", c.reason, reports, c.reports)
			}
		})
	}
}
