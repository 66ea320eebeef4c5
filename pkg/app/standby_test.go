package app

import (
	"context"
	"errors"
	"testing"
)

// TestHeldSession shows that a term that has taken the session of a standby ends with the reason of its engine. The
// process ends with the error of the term, so the log would not have the reason otherwise.
func TestHeldSession(t *testing.T) {
	t.Parallel()
	restored := errors.New("the host went back in time")
	held := &heldSession{end: func() {}, done: make(chan struct{}), failure: restored}
	close(held.done)
	if err := held.run(t.Context()); !errors.Is(err, restored) {
		t.Errorf("the engine failed: got %v, want %v", err, restored)
	}
	stopped := &heldSession{done: make(chan struct{})}
	stopped.end = func() { close(stopped.done) }
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := stopped.run(ctx); err != nil {
		t.Errorf("the term ended: got %v, want no error", err)
	}
}

// TestTakeSlot starts a term while the lease becomes contested. The standby has taken the slot, and waits for the term.
func TestTakeSlot(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		reason          string
		contested, held bool
		want            bool
	}{
		"Alone":     {"A single replica has no standby.", false, false, true},
		"Contested": {"The standby runs, or soon will.", true, false, false},
		"Meanwhile": {"The standby has started after the look at the channel.", false, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			contested := make(chan struct{})
			others := &otherReplicas{contested: contested, standby: newStandby(contested)}
			if tc.contested {
				close(contested)
			}
			if tc.held {
				others.standby.slot.Lock()
			}
			if got := others.takeSlot(); got != tc.want {
				t.Errorf("%s Got %t, want %t", tc.reason, got, tc.want)
			}
		})
	}
}
