package storage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clocktesting "k8s.io/utils/clock/testing"
)

// fakeDatabase is a store whose sizes the test sets. It records what is done.
type fakeDatabase struct {
	size, inUse, history int64 // MiB of a quota of 100 MiB
	alarmed, fails       bool
	rev                  int64
	done                 []string
}

func (f *fakeDatabase) usage() Usage {
	return Usage{Size: f.size * mib, InUse: f.inUse * mib, Quota: 100 * mib}
}

func (f *fakeDatabase) refreshUsage() {}

func (f *fakeDatabase) revision() int64 { return f.rev }

func (f *fakeDatabase) compact(_ context.Context, revision int64) error {
	f.done = append(f.done, fmt.Sprintf("compact %d", revision))
	f.inUse -= f.history
	f.history = 0
	return f.err()
}

func (f *fakeDatabase) defragment(context.Context) error {
	f.done = append(f.done, "defragment")
	f.size = f.inUse
	return f.err()
}

func (f *fakeDatabase) alarms(context.Context) ([]Alarm, error) {
	if f.alarmed {
		return []Alarm{"CORRUPT", AlarmNoSpace}, nil
	}
	return nil, f.err()
}

func (f *fakeDatabase) disarm(context.Context, Alarm) error {
	f.done = append(f.done, "disarm")
	f.alarmed = f.fails
	return f.err()
}

func (f *fakeDatabase) err() error {
	if f.fails {
		return errors.New("disk on fire")
	}
	return nil
}

func TestSpaceKeeperLook(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		reason string
		store  fakeDatabase
		seen   int64
		free   int64 // MiB
		want   []string
	}{
		{reason: "a store with room is left alone", store: fakeDatabase{size: 60, inUse: 30, rev: 9}, free: 500},
		{
			reason: "from 75 % on history goes, but not the last half minute of it",
			store:  fakeDatabase{size: 76, inUse: 76, history: 20, rev: 9}, seen: 5, free: 500,
			want: []string{"compact 5"},
		},
		{
			reason: "from 90 % on all history goes, and the file shrinks",
			store:  fakeDatabase{size: 95, inUse: 92, history: 40, rev: 9}, seen: 5, free: 500,
			want: []string{"compact 9", "defragment"},
		},
		{
			reason: "a file is not rewritten for little",
			store:  fakeDatabase{size: 95, inUse: 90, rev: 9}, seen: 5, free: 500,
			want: []string{"compact 9"},
		},
		{
			reason: "an alarm is cleared once there is room",
			store:  fakeDatabase{size: 125, inUse: 112, history: 10, rev: 9, alarmed: true}, free: 500,
			want: []string{"compact 9", "defragment", "disarm"},
		},
		{
			reason: "and stays while there is none",
			store:  fakeDatabase{size: 125, inUse: 115, rev: 9, alarmed: true}, free: 500,
			want: []string{"compact 9", "defragment"},
		},
		{
			reason: "without room on the volume the file stays, and its free pages serve",
			store:  fakeDatabase{size: 96, inUse: 92, history: 40, rev: 9, alarmed: true}, free: 100,
			want: []string{"compact 9", "disarm"},
		},
		{
			reason: "an error is not the end",
			store:  fakeDatabase{size: 96, inUse: 92, history: 40, rev: 9, alarmed: true, fails: true}, free: 500,
			want: []string{"compact 9", "defragment", "disarm"},
		},
	} {
		var observed []bool
		k := &spaceKeeper{
			clock: clocktesting.NewFakeClock(time.Now()), database: &tc.store, seen: tc.seen,
			free:     func() (int64, error) { return tc.free * mib, nil },
			observed: func(_ Usage, alarmed bool) { observed = append(observed, alarmed) },
		}
		k.checkSpace(t.Context())
		if diff := cmp.Diff(tc.want, tc.store.done); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
		}
		if !slices.Equal(observed, []bool{tc.store.alarmed}) {
			t.Errorf("%s: observed alarm %v, want %t", tc.reason, observed, tc.store.alarmed)
		}
	}
}

// TestDefragmentationIsRare shows that a store which stays full is not rewritten
// again and again. Requests wait meanwhile.
func TestDefragmentationIsRare(t *testing.T) {
	t.Parallel()
	fake := clocktesting.NewFakeClock(time.Now())
	store := &fakeDatabase{inUse: 70}
	k := &spaceKeeper{clock: fake, database: store, free: func() (int64, error) { return gib, nil }}
	for range 20 {
		store.size = 95
		k.checkSpace(t.Context())
		fake.Step(spaceCheck)
	}
	if count := len(store.done); count != 2 {
		t.Errorf("%d defragmentations in ten minutes, want one each %s", count, defragmentPause)
	}
}

// TestSpaceKeeperPace shows that the keeper looks at most every 5 seconds, however
// many writes ask for space.
func TestSpaceKeeperPace(t *testing.T) {
	t.Parallel()
	fake := clocktesting.NewFakeClock(time.Now())
	looks := make(chan time.Time, 1000)
	k := &spaceKeeper{
		clock: fake, database: &fakeDatabase{}, requested: make(chan struct{}, 1),
		observed: func(Usage, bool) { looks <- fake.Now() },
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		k.run(ctx)
	}()
	last := <-looks
	for range 5 {
		k.requestCheck()
		eventually(t, func() string {
			k.requestCheck()
			fake.Step(time.Second)
			select {
			case at := <-looks:
				if pause := at.Sub(last); pause < spacePause {
					t.Errorf("two looks within %s, want %s at least", pause, spacePause)
				}
				last = at
				return ""
			default:
				return "the keeper does not look although it was asked to"
			}
		})
	}
	cancel()
	<-done
}

func TestDefragmentAtStart(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		reason string
		store  fakeDatabase
		free   int64
		want   []string
	}{
		{"little to win", fakeDatabase{size: 150, inUse: 60}, 500, nil},
		{"much to win", fakeDatabase{size: 170, inUse: 60}, 500, []string{"defragment"}},
		{"no room for a second file", fakeDatabase{size: 170, inUse: 60}, 100, nil},
		{"a failure does not end the start", fakeDatabase{size: 170, inUse: 60, fails: true}, 500, []string{"defragment"}},
	} {
		k := &spaceKeeper{database: &tc.store, free: func() (int64, error) { return tc.free * mib, nil }}
		k.defragmentAtStart(t.Context())
		if diff := cmp.Diff(tc.want, tc.store.done); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
		}
	}
}
