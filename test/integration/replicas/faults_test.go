package replicas

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/sublet-dev/sublet/hostlab/sim/tenant"
)

// fault breaks something and returns what mends it.
type fault struct {
	name   string
	inject func(t *testing.T, w *world, random *rand.Rand) (mend func())
}

// How long a fault lasts, and how long there is none between two. Both are random, up to
// twice the mean.
const (
	meanFault = time.Second
	meanPeace = 1500 * time.Millisecond
)

// kill kills a replica with SIGKILL.
func kill() fault {
	return fault{"kill", func(_ *testing.T, w *world, random *rand.Rand) func() {
		victim := choose(w.fleet.Replicas(), random)
		if victim == nil {
			return nil
		}
		w.fleet.Kill(victim.Pod)
		return func() { w.fleet.Restart(victim.Pod) }
	}}
}

// pause stops a replica where it is, as a machine that is suspended.
func pause() fault {
	return fault{"pause", func(t *testing.T, w *world, random *rand.Rand) func() {
		victim := choose(w.fleet.Replicas(), random)
		if victim == nil {
			return nil
		}
		// A process that has just ended by itself is as one that was killed.
		if err := victim.Pause(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Errorf("cannot pause %s: %v", victim.Pod, err)
		}
		return func() {
			if err := victim.Resume(); err != nil && !errors.Is(err, os.ErrProcessDone) {
				t.Errorf("cannot resume %s: %v", victim.Pod, err)
			}
		}
	}}
}

// cutHost cuts a replica off the host.
func cutHost(w *world) fault {
	return cut("cut from the host", func(pod string) network { return w.ways.link(pod) })
}

// cut cuts the network of a replica.
func cut(name string, networkOf func(pod string) network) fault {
	return fault{name, func(_ *testing.T, w *world, random *rand.Rand) func() {
		victim := choose(w.fleet.Replicas(), random)
		if victim == nil {
			return nil
		}
		n := networkOf(victim.Pod)
		n.cut()
		return n.mend
	}}
}

func choose(replicas []*tenant.Replica, random *rand.Rand) *tenant.Replica {
	if len(replicas) == 0 {
		return nil
	}
	return replicas[random.IntN(len(replicas))]
}

// breakThings breaks one thing after the other until ctx ends, and leaves nothing broken.
func (w *world) breakThings(ctx context.Context, t *testing.T, faults []fault, random *rand.Rand) {
	t.Helper()
	for {
		if !wait(ctx, random, meanPeace) {
			return
		}
		f := faults[random.IntN(len(faults))]
		mend := f.inject(t, w, random)
		t.Log("fault: " + f.name)
		goesOn := wait(ctx, random, meanFault)
		if mend != nil {
			mend()
		}
		if !goesOn {
			return
		}
	}
}

// wait waits for a random time and reports whether ctx has not ended.
func wait(ctx context.Context, random *rand.Rand, mean time.Duration) bool {
	timer := time.NewTimer(time.Duration(random.Int64N(int64(2 * mean))))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
