package storage

import (
	"context"
	"testing"
)

// TestOneLearnerAtATime checks that a second learner is refused before etcd logs it.
func TestOneLearnerAtATime(t *testing.T) {
	t.Parallel()
	c := newTeam(t, "a-0")
	e, _ := c.start(t, "a-0", Known{})
	add := func(name, url string) (int, error) {
		before := e.server.CommittedIndex()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		_, err := e.addLearner(ctx, joinRequest{Name: name, URL: url})
		return int(e.server.CommittedIndex() - before), err
	}
	if _, err := add("a-1", "https://127.0.0.1:1"); err != nil {
		t.Fatal(err)
	}
	if logged, err := add("a-2", "https://127.0.0.1:2"); err == nil || logged > 0 {
		t.Errorf("a second learner: %v, and etcd logged %d entries; want an error and none", err, logged)
	}
	if members := e.server.Cluster().Members(); len(members) != 2 {
		t.Errorf("%d members, want the first and the learner", len(members))
	}
}
