package virtualscheduler

import (
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	fwk "k8s.io/kube-scheduler/framework"
	clocktesting "k8s.io/utils/clock/testing"
)

func TestRefusedNodeIsLeftAlone(t *testing.T) {
	t.Parallel()
	clock := clocktesting.NewFakeClock(time.Unix(0, 0))
	b := newNodeBackoff(clock)
	for i, want := range []time.Duration{5 * time.Second, 10 * time.Second, 20 * time.Second} {
		b.recordRefusal("1", "a", fmt.Sprint("reason ", i), func() {})
		clock.Step(want - time.Millisecond)
		if b.refusalReason("1", "a") == "" || b.refusalReason("1", "b") != "" || b.refusalReason("2", "a") != "" {
			t.Fatalf("refusal %d: %q of a, %q of b, %q of another pod", i,
				b.refusalReason("1", "a"), b.refusalReason("1", "b"), b.refusalReason("2", "a"))
		}
		clock.Step(time.Millisecond)
		if b.refusalReason("1", "a") != "" {
			t.Fatalf("refusal %d still counts after %v", i, want)
		}
	}
}

func TestFreedNodeIsTriedAtOnce(t *testing.T) {
	t.Parallel()
	clock := clocktesting.NewFakeClock(time.Unix(0, 0))
	b := newNodeBackoff(clock)
	retries := 0
	b.recordRefusal("1", "a", "full", func() { retries++ })
	b.retryNode("b")
	if b.refusalReason("1", "a") == "" || retries != 0 {
		t.Error("room on b is room on a")
	}
	b.retryNode("a")
	if b.refusalReason("1", "a") != "" || retries != 1 {
		t.Errorf("room on a is not tried: %q, %d retries", b.refusalReason("1", "a"), retries)
	}
	b.retryNode("a")
	if retries != 1 {
		t.Error("a node that is free already is tried again")
	}
}

func TestNewNodeIsTriedAtOnce(t *testing.T) {
	t.Parallel()
	clock := clocktesting.NewFakeClock(time.Unix(0, 0))
	b := newNodeBackoff(clock)
	retries := 0
	for range quickTries + 4 {
		b.recordRefusal("1", "a", "full", func() { retries++ })
	}
	b.retryAll()
	if retries != 1 {
		t.Errorf("got %d retries when there was a new node, want 1", retries)
	}
	b.recordRefusal("1", "b", "full", func() { retries++ })
	clock.Step(quickPause)
	if retries != 2 {
		t.Errorf("got %d retries, want the next node at once after a new one", retries)
	}
}

// TestOneTimer counts the timers of a pod, whatever happens to it.
func TestOneTimer(t *testing.T) {
	t.Parallel()
	clock := clocktesting.NewFakeClock(time.Unix(0, 0))
	b := newNodeBackoff(clock)
	retries := 0
	count := func() { retries++ }
	for node := range 50 {
		b.recordRefusal("1", fmt.Sprint(node), "full", count)
	}
	b.recordNoNode("1")
	clock.Step(time.Hour)
	if retries != 1 {
		t.Errorf("got %d retries of a pod that nobody has tried since, want 1", retries)
	}
	b.recordRefusal("1", "a", "full", count)
	b.forget("1")
	if clock.HasWaiters() {
		t.Error("a pod that is bound or gone keeps its timer")
	}
	if b.wasRefused("1") {
		t.Error("a pod that is bound or gone is remembered")
	}
}

// host refuses every pod, and plays the scheduler. It tries each pod on the best node that
// the backoff allows, as soon as the pod is due.
type host struct {
	clock    *clocktesting.FakeClock
	backoff  *nodeBackoff
	nodes    int
	attempts map[types.UID]int
	due      map[types.UID]bool
	tried    map[string]bool // nodes
}

func newRefusingHost(pods, nodes int) *host {
	clock := clocktesting.NewFakeClock(time.Unix(0, 0))
	h := &host{
		clock: clock, backoff: newNodeBackoff(clock), nodes: nodes,
		attempts: map[types.UID]int{}, due: map[types.UID]bool{}, tried: map[string]bool{},
	}
	for i := range pods {
		h.due[types.UID(fmt.Sprint("pod-", i))] = true
	}
	return h
}

// schedule makes one attempt for each pod that is due.
func (h *host) schedule() {
	due := h.due
	h.due = map[types.UID]bool{}
	for pod := range due {
		h.attempt(pod)
	}
}

// attempt tries the pod on the node with the best score, of equal ones on the first. The
// host refuses.
func (h *host) attempt(pod types.UID) {
	best, bestScore := "", int64(-1)
	for node := range h.nodes {
		name := fmt.Sprint(node)
		if score := h.backoff.score(pod, name, nil); h.backoff.refusalReason(pod, name) == "" && score > bestScore {
			best, bestScore = name, score
		}
	}
	if best == "" {
		h.backoff.recordNoNode(pod)
		return
	}
	h.attempts[pod]++
	h.tried[best] = true
	h.backoff.recordRefusal(pod, best, "quota exceeded", func() { h.due[pod] = true })
}

// TestPaceOfRefusedPods counts the attempts that reach the host in two minutes, if
// it refuses every one, as a quota does.
func TestPaceOfRefusedPods(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason      string
		pods, nodes int
		least, most int // attempts of a pod
	}{
		"ManyNodes": {reason: "untried nodes are no reason to hurry", pods: 1, nodes: 1000, least: 15, most: 20},
		"ManyPods":  {reason: "each pod has its own pace", pods: 200, nodes: 100, least: 15, most: 20},
		"OneNode":   {reason: "a node that refuses is asked less and less often", pods: 1, nodes: 1, least: 4, most: 6},
		"FewNodes":  {reason: "a pod comes round to nodes that have had time", pods: 5, nodes: 3, least: 6, most: 20},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newRefusingHost(tc.pods, tc.nodes)
			for end := h.clock.Now().Add(2 * time.Minute); h.clock.Now().Before(end); h.clock.Step(quickPause) {
				h.schedule()
			}
			for pod, attempts := range h.attempts {
				if attempts < tc.least || attempts > tc.most {
					t.Errorf("%s: %s made %d attempts in two minutes, want %d to %d", tc.reason, pod, attempts, tc.least, tc.most)
				}
			}
		})
	}
}

// TestEveryNodeIsTried checks that a pod which likes the first nodes best comes to each of
// them before it tries any a second time.
func TestEveryNodeIsTried(t *testing.T) {
	t.Parallel()
	for _, nodes := range []int{1, 5, 30, 100} {
		h := newRefusingHost(1, nodes)
		began := h.clock.Now()
		for len(h.tried) < nodes {
			h.schedule()
			h.clock.Step(quickPause)
			if h.attempts["pod-0"] > nodes {
				t.Fatalf("%d nodes: only %d of them after %d attempts", nodes, len(h.tried), h.attempts["pod-0"])
			}
		}
		t.Logf("%d nodes: %d attempts in %s", nodes, h.attempts["pod-0"], h.clock.Since(began))
	}
}

func TestScore(t *testing.T) {
	t.Parallel()
	clock := clocktesting.NewFakeClock(time.Unix(0, 0))
	b := newNodeBackoff(clock)
	b.recordRefusal("1", "old", "full", func() {})
	clock.Step(time.Minute)
	b.recordRefusal("1", "new", "full", func() {})
	score := func(node string) int64 { return b.score("1", node, nil) }
	fresh, old, recent := score("fresh"), score("old"), score("new")
	if fresh <= old || old <= recent {
		t.Errorf("scores: never refused %d, refused a minute ago %d, just now %d; want them to fall", fresh, old, recent)
	}
	clock.Step(24 * time.Hour)
	if most := score("old"); fresh-most < fwk.MaxScore/2 {
		t.Errorf("a refused node gets %d of %d, which other plugins outweigh", most, fresh)
	}
	home, other, refused := b.score("1", "fresh", []string{"fresh", "old"}), b.score("1", "other", []string{"fresh", "old"}), b.score("1", "old", []string{"fresh", "old"})
	if home-other < fwk.MaxScore/4 || other-refused < fwk.MaxScore/4 {
		t.Errorf("scores: its volume is there %d, it is not %d, refused %d; want them to fall by a quarter each", home, other, refused)
	}
}
