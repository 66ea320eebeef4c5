package recent

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/sublet-dev/sublet/test/goroutines"
)

func TestMain(m *testing.M) { goroutines.Verify(m) }

// TestShared checks that those who ask for the same share one answer, until it is too old.
func TestShared(t *testing.T) {
	t.Parallel()
	c := clocktesting.NewFakeClock(time.Unix(0, 0))
	answers := NewAnswers[string, int64](time.Second, c)
	var asked atomic.Int64
	get := func(key string) int64 {
		got, err := answers.Get(t.Context(), key, func(context.Context) int64 { return asked.Add(1) })
		if err != nil {
			t.Error(err)
		}
		return got
	}
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() { get("a") })
	}
	all.Wait()
	for _, step := range []struct {
		reason string
		later  time.Duration
		key    string
		want   int64
	}{
		{"All have shared one answer.", 0, "a", 1},
		{"Another key has its own.", 0, "b", 2},
		{"The answer is still recent.", time.Second - 1, "a", 1},
		{"It is too old.", 1, "a", 3},
	} {
		c.Step(step.later)
		if got := get(step.key); got != step.want {
			t.Errorf("%s: got %d, want %d", step.reason, got, step.want)
		}
	}
	c.Step(time.Second)
	if c.HasWaiters() || len(answers.byKey) > 0 {
		t.Errorf("%d answers are kept for longer than they may", len(answers.byKey))
	}
}

// TestLeaves checks that the first who leaves does not take the answer from those who wait with it.
func TestLeaves(t *testing.T) {
	t.Parallel()
	answers := NewAnswers[string, error](time.Second, clocktesting.NewFakeClock(time.Unix(0, 0)))
	asked, reply := make(chan struct{}), make(chan struct{})
	getAnswer := func(ctx context.Context) error {
		close(asked)
		<-reply
		return ctx.Err()
	}
	first, leave := context.WithCancel(t.Context())
	left := make(chan error)
	go func() {
		_, err := answers.Get(first, "a", getAnswer)
		left <- err
	}()
	<-asked
	leave()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("who leaves got %v", err)
	}
	close(reply)
	if got, err := answers.Get(t.Context(), "a", getAnswer); err != nil || got != nil {
		t.Errorf("who waits got %v, %v", got, err)
	}
}

// TestPanics checks that a panic is the error of one answer, and ends no process.
func TestPanics(t *testing.T) {
	t.Parallel()
	c := clocktesting.NewFakeClock(time.Unix(0, 0))
	answers := NewAnswers[string, int64](time.Second, c)
	if _, err := answers.Get(t.Context(), "a", func(context.Context) int64 { panic("too much") }); err == nil || !strings.Contains(err.Error(), "panic: too much") {
		t.Errorf("got %v, want the panic", err)
	}
	c.Step(time.Second)
	if got, err := answers.Get(t.Context(), "a", func(context.Context) int64 { return 1 }); got != 1 || err != nil {
		t.Errorf("got %d, %v later, want 1", got, err)
	}
}
