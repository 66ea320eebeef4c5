package storage

import (
	"errors"
	"os"
	"testing"
)

func TestReserve(t *testing.T) {
	t.Parallel()
	var free int64
	r := newReserve(t.TempDir(), mib)
	r.free = func() (int64, error) { return free, nil }
	for _, step := range []struct {
		reason string
		free   int64
		do     func() error
		want   bool
	}{
		{"a volume with little room is not made fuller", 2 * mib, r.set, false},
		{"with plenty of room the reserve is created", 500 * mib, r.set, true},
		{"and stays as it is", 500 * mib, r.set, true},
		{"a start with room keeps it", 500 * mib, r.release, true},
		{"a start on a full volume uses it up", minFree - 1, r.release, false},
		{"the next one does not mind", minFree - 1, r.release, false},
		{"it comes back when there is room", 500 * mib, r.set, true},
	} {
		free = step.free
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.reason, err)
		}
		info, err := os.Stat(r.path)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		if found := err == nil; found != step.want {
			t.Fatalf("%s: there is a reserve: %t", step.reason, found)
		}
		if err == nil && info.Size() != mib {
			t.Errorf("%s: the reserve has %d bytes", step.reason, info.Size())
		}
	}
}
