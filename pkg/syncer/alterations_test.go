package syncer

import (
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestAlteredWrites lets a policy of the tenant change each status that the engine writes. The
// engine repeats its writes less and less, and at once after a change by anybody else.
func TestAlteredWrites(t *testing.T) {
	t.Parallel()
	c := clocktesting.NewFakeClock(testStart())
	virtual, host := newFakeServer("virtual", c, virtualPod()), newFakeServer("host", c, hostPod(func(p *corev1.Pod) { p.Status.Reason = "First" }))
	changes, alters := 0, true
	virtual.before = func(verb string, o client.Object) error {
		if pod, ok := o.(*corev1.Pod); ok && alters && verb == "update status" {
			changes++
			pod.Status.Message = "forged " + strconv.Itoa(changes)
		}
		return nil
	}
	b := newBench(pods(), c, virtual, host)
	reconcileOnce := func() (wrote int, again time.Duration) {
		b.refresh()
		before := changes
		again, err := b.reconcile(t.Context(), theKey())
		if err != nil {
			t.Fatal(err)
		}
		return changes - before, again
	}
	for range 100 {
		reconcileOnce()
	}
	if changes > quickAlterations+2 {
		t.Fatalf("100 reconciles in no time have written %d times", changes)
	}
	if wrote, again := reconcileOnce(); wrote > 0 || again != firstAlteredPause {
		t.Errorf("wrote %d times, and looks again after %s, want %s", wrote, again, firstAlteredPause)
	}
	for _, pause := range []time.Duration{firstAlteredPause, 2 * firstAlteredPause, 4 * firstAlteredPause} {
		c.Step(pause)
		if wrote, _ := reconcileOnce(); wrote != 1 {
			t.Errorf("after %s: wrote %d times, want once", pause, wrote)
		}
		if wrote, again := reconcileOnce(); wrote > 0 || again != 2*pause {
			t.Errorf("after %s: wrote %d times more, and looks again after %s", pause, wrote, again)
		}
	}
	if events := eventsOf(virtual); len(events) != 1 || !strings.HasPrefix(events[0], reasonVirtualChanged) {
		t.Errorf("the tenant must see why, got %v", events)
	}
	changed := host.get(&corev1.Pod{}, client.ObjectKeyFromObject(hostPod())).(*corev1.Pod)
	changed.Status.Reason = "News"
	host.add(changed)
	if wrote, _ := reconcileOnce(); wrote != 1 {
		t.Errorf("news of the host were written %d times, want once", wrote)
	}
	if wrote, _ := reconcileOnce(); wrote > 0 {
		t.Errorf("and then %d times more", wrote)
	}
	alters = false
	c.Step(lastAlteredPause)
	reconcileOnce()
	b.refresh()
	if pod := virtual.get(&corev1.Pod{}, theKey()).(*corev1.Pod); pod.Status.Message != "" || pod.Status.Reason != "News" {
		t.Errorf("without the policy the status is %+v", pod.Status)
	}
}

// TestAlteredWritesWithOthersBetween checks that writes wait although every second one is not altered.
func TestAlteredWritesWithOthersBetween(t *testing.T) {
	t.Parallel()
	a := newAlterations(clocktesting.NewFakeClock(testStart()))
	version, host := 1, hostPod(func(p *corev1.Pod) { p.ResourceVersion = "1" })
	now := func() client.Object {
		return virtualPod(func(p *corev1.Pod) { p.ResourceVersion = strconv.Itoa(version) })
	}
	write := func(altered bool) {
		before := now()
		version++
		a.record(theKey(), host, before, now(), altered)
	}
	for range 2 * quickAlterations {
		write(false)
		write(true)
	}
	if a.pause(theKey(), host, now()) == 0 {
		t.Error("writes that are altered each second time never wait")
	}
}
