package app

import (
	"context"
	"runtime"
	"slices"
	"testing"
	"time"
)

func TestReleaseIfQuiet(t *testing.T) {
	t.Parallel()
	var use memoryUse
	released := 0
	k := &memoryKeeper{read: func() memoryUse { return use }, release: func() { released++ }}

	for _, step := range []struct {
		reason   string
		use      memoryUse
		releases bool
	}{
		{"The start has collected garbage since the last look: it may still be at work.", memoryUse{9, 120 * mib, 80 * mib, 30 * mib}, false},
		{"Then it is quiet, and what the start has left is returned.", memoryUse{9, 125 * mib, 80 * mib, 30 * mib}, true},
		{"What little has gathered since is not worth a collection.", memoryUse{9, 83 * mib, 80 * mib, 2 * mib}, false},
		{"Dead objects alone are worth it,", memoryUse{9, 95 * mib, 80 * mib, 0}, true},
		{"and so is memory without objects.", memoryUse{9, 80 * mib, 80 * mib, 20 * mib}, true},
		{"Work again: leave it alone.", memoryUse{12, 200 * mib, 90 * mib, 50 * mib}, false},
		{"A heap that shrank below what lived is no reason.", memoryUse{12, 70 * mib, 90 * mib, 0}, false},
	} {
		before := released
		use = step.use
		k.releaseIfQuiet()
		if got := released > before; got != step.releases {
			t.Errorf("%s: released: %t", step.reason, got)
		}
	}
}

func TestPace(t *testing.T) {
	t.Parallel()
	var live uint64
	var set []int
	ready := make(chan struct{})
	k := &memoryKeeper{
		read: func() memoryUse { return memoryUse{live: live} }, percent: startGCPercent, ready: ready,
		setPercent: func(percent int) { set = append(set, percent) },
	}
	for i, step := range []struct {
		reason string
		live   uint64
		want   []int
	}{
		{"The start leaves few gaps on the heap.", 30 * mib, nil},
		{"Then a small heap may grow to five times what lives.", 30 * mib, []int{400}},
		{"From there on it grows by a fixed amount,", 80 * mib, []int{400, 200}},
		{"which is a smaller part of a larger heap.", 160 * mib, []int{400, 200, 100}},
		{"A little more is not worth stopping all goroutines.", 165 * mib, []int{400, 200, 100}},
		{"With very many objects, collections would take too much CPU.", 2000 * mib, []int{400, 200, 100, 50}},
		{"It goes back as objects go.", 30 * mib, []int{400, 200, 100, 50, 400}},
		{"Nothing lives before the first collection.", 0, []int{400, 200, 100, 50, 400}},
	} {
		live = step.live
		k.pace()
		if !slices.Equal(set, step.want) {
			t.Errorf("%s: with %d MiB set %v, want %v", step.reason, live/mib, set, step.want)
		}
		if i == 0 {
			close(ready)
		}
	}
}

func TestAfterCollections(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	reacted := make(chan struct{}, 100)
	afterCollections(ctx, func() { reacted <- struct{}{} })
	for range 3 {
		runtime.GC()
		select {
		case <-reacted:
		case <-time.After(10 * time.Second):
			t.Fatal("nothing happens after a collection")
		}
	}
}

func TestReadMemory(t *testing.T) {
	t.Parallel()
	if use := readMemory(); use.heap == 0 {
		t.Errorf("the runtime must know the names of the metrics: %+v", use)
	}
}
