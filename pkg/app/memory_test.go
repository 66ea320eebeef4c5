package app

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/sublet-dev/sublet/test/await"
)

func TestReleaseIfQuiet(t *testing.T) {
	t.Parallel()
	var use memoryUse
	released := 0
	k := &memoryKeeper{read: func() memoryUse { return use }, release: func() { released++ }, fixed: true}

	for _, step := range []struct {
		reason    string
		allocates uint64
		heap      uint64
		free      uint64
		live      uint64
		releases  bool
	}{
		{"The start has allocated since the last look: it may still be at work.", 200 * mib, 120 * mib, 30 * mib, 80 * mib, false},
		{"Then it is quiet, and what the start has left is returned.", mib, 125 * mib, 30 * mib, 80 * mib, true},
		{"What little has gathered since is not worth a collection.", mib, 83 * mib, 2 * mib, 80 * mib, false},
		{"Dead objects alone are worth it,", mib, 95 * mib, 0, 80 * mib, true},
		{"and so is memory without objects.", mib, 80 * mib, 20 * mib, 80 * mib, true},
		{"Work again: leave it alone.", 90 * mib, 200 * mib, 50 * mib, 90 * mib, false},
		{"A heap that shrank below what lived is no reason.", mib, 70 * mib, 0, 90 * mib, false},
	} {
		before := released
		use = memoryUse{allocated: use.allocated + step.allocates, heap: step.heap, free: step.free, live: step.live}
		k.releaseIfQuiet()
		if got := released > before; got != step.releases {
			t.Errorf("%s: released: %t", step.reason, got)
		}
	}
}

func TestPace(t *testing.T) {
	t.Parallel()
	var use memoryUse
	var set []int
	k := &memoryKeeper{
		read: func() memoryUse { return use }, percent: startGCPercent, headroom: maxHeadroom,
		setPercent: func(percent int) { set = append(set, percent) },
	}
	for _, step := range []struct {
		reason   string
		live     uint64
		overhead uint64
		want     int
		then     func()
	}{
		{"The start leaves few gaps on the heap.", 30 * mib, 50 * mib, startGCPercent, k.endStart},
		{"Then a small heap may grow to five times what lives.", 30 * mib, 50 * mib, 400, nil},
		{"A busy server has memory to itself,", 66 * mib, 10 * mib, 400, nil},
		{"up to a fixed size of the process,", 140 * mib, 28 * mib, 130, nil},
		{"which stacks are a part of,", 140 * mib, 70 * mib, 100, nil},
		{"however much lives.", 200 * mib, 30 * mib, 60, nil},
		{"A little more is not worth stopping all goroutines.", 202 * mib, 30 * mib, 60, nil},
		{"With very many objects, collections would take too much CPU.", 2000 * mib, 50 * mib, 50, nil},
		{"It goes back as objects go.", 30 * mib, 50 * mib, 400, nil},
		{"Nothing lives before the first collection.", 0, 0, 400, nil},
	} {
		use = memoryUse{live: step.live, overhead: step.overhead}
		k.pace()
		if k.percent != step.want {
			t.Errorf("%s: with %d MiB %d percent, want %d", step.reason, step.live/mib, k.percent, step.want)
		}
		if step.then != nil {
			step.then()
		}
	}
	if want := []int{400, 130, 100, 60, 50, 400}; !slices.Equal(set, want) {
		t.Errorf("set %v, want %v", set, want)
	}
}

func TestStartLastsUntilTheHostHasSettled(t *testing.T) {
	t.Parallel()
	c := clocktesting.NewFakeClock(time.Now())
	ready, set := make(chan struct{}), make(chan int, 1)
	k := &memoryKeeper{
		clock: c, read: func() memoryUse { return memoryUse{live: 30 * mib} },
		percent: startGCPercent, headroom: maxHeadroom, ready: ready,
		follower: &memoryFollower{fixed: true, read: func() int64 { return 0 }}, setPercent: func(percent int) { set <- percent },
	}
	run := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { run <- k.Run(ctx) }()
	close(ready)
	await.Until(t, "the keeper waits for the end of the start", func(context.Context) error {
		if waiters := c.Waiters(); waiters != 3 { // a look, the end, and the look after that
			return fmt.Errorf("%d timers", waiters)
		}
		return nil
	})
	c.Step(settleTime - time.Millisecond)
	select {
	case percent := <-set:
		t.Errorf("The start is over too soon: %d", percent)
	default:
	}
	c.Step(time.Millisecond)
	if percent := <-set; percent != maxGCPercent {
		t.Errorf("The heap may grow by %d percent after the start, want %d", percent, maxGCPercent)
	}
	cancel()
	if err := <-run; err != nil {
		t.Error(err)
	}
}

func TestPaceAfterQuietTime(t *testing.T) {
	t.Parallel()
	use := memoryUse{live: 40 * mib}
	percent := 0
	k := &memoryKeeper{
		read: func() memoryUse { return use }, headroom: maxHeadroom, started: true,
		setPercent: func(p int) { percent = p },
	}
	k.release = k.pace // A forced collection ends as any other.
	collect := func() {
		use.collections++
		k.pace()
	}
	for _, step := range []struct {
		reason string
		do     func()
		want   int
	}{
		{"A server at work has all of the headroom.", collect, 400},
		{"A quiet one keeps little garbage.", func() { use.heap = 100 * mib; k.releaseIfQuiet() }, 80},
		{"Nobody asked for more.", k.pace, 80},
		{"A scan ends with the first collection,", collect, 320},
		{"and a burst goes on.", collect, 400},
		{"It keeps that while it works.", func() { use.allocated += 100 * mib; k.releaseIfQuiet() }, 400},
	} {
		step.do()
		if percent != step.want {
			t.Errorf("%s: percent %d, want %d", step.reason, percent, step.want)
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
		case <-time.After(time.Minute):
			t.Fatal("nothing happens after a collection")
		}
	}
}

func TestReadMemory(t *testing.T) {
	t.Parallel()
	if use := readMemory(); use.heap == 0 || use.allocated == 0 {
		t.Errorf("the runtime must know the names of the metrics: %+v", use)
	}
}
