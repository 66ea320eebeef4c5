package syncer

import (
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"
)

func TestRecentForgetsWhatIsOld(t *testing.T) {
	t.Parallel()
	c := clocktesting.NewFakeClock(testStart())
	r := newRecent[string, int](c, 5*time.Second)
	r.set("a", 1)
	c.Step(3 * time.Second)
	r.set("b", 2)
	r.set("a", 3) // Its life begins again.
	c.Step(3 * time.Second)
	if value, ok := r.get("a"); !ok || value != 3 {
		t.Errorf("A key that was set again lives from then on, got %d, %t", value, ok)
	}
	c.Step(2 * time.Second)
	if r.count() != 0 || len(r.order) != 0 {
		t.Errorf("Nothing must be left after its time, got %d and %d", r.count(), len(r.order))
	}
	r.set("c", 4)
	r.delete("c")
	if _, ok := r.get("c"); ok {
		t.Error("A key that was deleted is gone")
	}
}

func TestRecentIsBoundedByWhatIsRecent(t *testing.T) {
	t.Parallel()
	c := clocktesting.NewFakeClock(testStart())
	r := newRecent[int, int](c, 5*time.Second)
	for i := range 10000 {
		r.set(i, i)
		c.Step(time.Second)
	}
	if r.count() > 5 || len(r.order) > 5 {
		t.Errorf("Entries of objects that are gone must not stay, got %d and %d", r.count(), len(r.order))
	}
}
