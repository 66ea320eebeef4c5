package app

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/sublet-dev/sublet/pkg/cgroup"
)

// TestMemoryFollower resizes a container, with the files of its cgroup in a folder.
func TestMemoryFollower(t *testing.T) {
	t.Parallel()
	const gib = 1 << 30
	root, sets := t.TempDir(), make(chan int64, 10)
	file := filepath.Join(root, "sys/fs/cgroup/memory.max")
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	resize := func(limit string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(limit+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	resize(strconv.Itoa(2*gib - 4096)) // as the kernel rounds it
	follower := &memoryFollower{
		read: func() int64 { return cgroup.MemoryLimit(root) }, set: func(limit int64) { sets <- limit }, limit: 2 * gib,
	}
	clock := clocktesting.NewFakeClock(time.Unix(0, 0))
	keeper := &memoryKeeper{clock: clock, read: func() memoryUse { return memoryUse{} }, fixed: true, follower: follower}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { _ = keeper.Run(ctx) }()
	for _, step := range []struct {
		reason, limit string
		want          int64 // 0 means that nothing is set
	}{
		{"the limit of the start is in use already", strconv.Itoa(2 * gib), 0},
		{"more", strconv.Itoa(4 * gib), 4 * gib / 100 * memoryShare},
		{"nothing new", strconv.Itoa(4 * gib), 0},
		{"less", strconv.Itoa(gib), gib / 100 * memoryShare},
		{"none", "max", math.MaxInt64},
		{"one again", strconv.Itoa(gib), gib / 100 * memoryShare},
	} {
		resize(step.limit)
		awaitWaiter(t, clock)
		clock.Step(memoryCheck)
		awaitWaiter(t, clock)
		select {
		case got := <-sets:
			if got != step.want {
				t.Errorf("%s: set %d, want %d", step.reason, got, step.want)
			}
		default:
			if step.want != 0 {
				t.Errorf("%s: nothing was set", step.reason)
			}
		}
	}
	follower = &memoryFollower{read: func() int64 { return gib }, set: func(int64) { t.Error("GOMEMLIMIT stays") }, fixed: true}
	follower.update()
}

// awaitWaiter waits until somebody waits for the clock.
func awaitWaiter(t *testing.T, clock *clocktesting.FakeClock) {
	t.Helper()
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !clock.HasWaiters() {
		select {
		case <-deadline.C:
			t.Fatal("nobody waits for the clock")
		case <-tick.C:
		}
	}
}

func TestMemoryLimit(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{"2147483648": 1825361060, "2Gi": 1825361060, "100": 85} {
		if got, err := memoryLimit(text); err != nil || collectorLimit(got) != want {
			t.Errorf("%s: %d %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"much", "0", "-1"} {
		if _, err := memoryLimit(text); err == nil {
			t.Errorf("%s is no limit", text)
		}
	}
}
