package syncer

import (
	"errors"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// refusedPods is a host that refuses copies and counts the attempts.
type refusedPods struct {
	backoff  *refusalBackoff
	clock    *clocktesting.FakeClock
	refuses  func(key types.NamespacedName) bool
	attempts int
	accepted int
}

func newRefusedPods(count int, refuses func(types.NamespacedName) bool) *refusedPods {
	c := clocktesting.NewFakeClock(testStart())
	h := &refusedPods{clock: c, refuses: refuses}
	h.backoff = newRefusalBackoff(c, func(types.NamespacedName) {})
	for i := range count {
		h.attempt(types.NamespacedName{Namespace: "web", Name: fmt.Sprintf("pod-%d", i)})
	}
	return h
}

// attempt sends one create.
func (h *refusedPods) attempt(key types.NamespacedName) {
	h.attempts++
	if h.refuses(key) {
		h.backoff.add(key)
		return
	}
	h.accepted++
	h.backoff.forget(key, true)
}

// pass lets time pass and works off all retries that are due.
func (h *refusedPods) pass(d time.Duration) {
	for end := h.clock.Now().Add(d); ; {
		key, pause, ok := h.backoff.takeNext()
		if ok {
			h.attempt(key)
			continue
		}
		left := end.Sub(h.clock.Now())
		if left <= 0 {
			return
		}
		if pause <= 0 || pause > left {
			pause = left
		}
		h.clock.Step(max(pause, time.Microsecond))
	}
}

func TestRefusedPodsShareABudget(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		reason string
		pods   int
		most   int // retries a minute, once the saved attempts are used up
		least  int
	}{
		"One":     {"A single pod backs off to minutes.", 1, 1, 0},
		"Sixty":   {"Sixty pods that a quota refuses make 12 attempts a minute, not 240.", 60, 12, 10},
		"Hundred": {"More pods do not make more attempts.", 1000, 12, 10},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newRefusedPods(tc.pods, func(types.NamespacedName) bool { return true })
			h.pass(10 * time.Minute)
			before := h.attempts
			h.pass(time.Minute)
			if got := h.attempts - before; got > tc.most || got < tc.least {
				t.Errorf("%s\n%d attempts in a minute, want %d to %d", tc.reason, got, tc.least, tc.most)
			}
		})
	}
}

func TestRefusedPodsRecoverTogether(t *testing.T) {
	t.Parallel()
	full := true
	h := newRefusedPods(60, func(types.NamespacedName) bool { return full })
	h.pass(30 * time.Minute)
	full = false
	before := h.attempts
	h.pass(10 * time.Second)
	if h.accepted != 60 {
		t.Errorf("10 s after the quota was raised all 60 pods must have a copy, %d have one", h.accepted)
	}
	if got := h.attempts - before; got != 60 {
		t.Errorf("Each pod must be tried once, got %d attempts", got)
	}
}

func TestOneSuccessDoesNotReleaseARefusedCrowd(t *testing.T) {
	t.Parallel()
	lucky := types.NamespacedName{}
	h := newRefusedPods(60, func(key types.NamespacedName) bool { return key != lucky })
	h.pass(30 * time.Minute)
	before := h.attempts
	lucky = types.NamespacedName{Namespace: "web", Name: "pod-7"}
	h.pass(10 * time.Minute)
	if got := h.attempts - before; h.accepted != 1 || got > 120+refusedBurst+refusedReward {
		t.Errorf("One success earns %d attempts, got %d attempts in 10 minutes", refusedReward, got)
	}
}

func TestRefusedReconcileIsRetriedByTheBudget(t *testing.T) {
	t.Parallel()
	b := newRunnerBench(t)
	b.virtualServer.add(virtualMap())
	b.hostServer.before = func(_ string, o client.Object) error {
		return apierrors.NewForbidden(resource(o), "x", errors.New("quota"))
	}
	b.enqueue(theKey())
	b.step(t)
	if key, pause, ok := b.refusals.takeNext(); ok || pause != firstRefusedRetry {
		t.Fatalf("The retry must wait %s, got %s after %s, %t", firstRefusedRetry, key, pause, ok)
	}
	if b.queue.Len() != 0 || b.queue.NumRequeues(theKey()) != 0 {
		t.Error("A refused key must not be in the queue")
	}
	b.clock.Step(firstRefusedRetry)
	key, _, ok := b.refusals.takeNext()
	if !ok || key != theKey() {
		t.Fatalf("The retry is due, got %s, %t", key, ok)
	}
	b.queue.Add(key)
	b.hostServer.before = nil
	b.step(t)
	if b.hostServer.get(&corev1.ConfigMap{}, b.hostKey(theKey())) == nil {
		t.Error("The retry must create the copy")
	}
	if len(b.refusals.keys) != 0 {
		t.Error("A key that succeeded must be forgotten")
	}
}

// TestEventsDoNotSpeedUpRetries lets the tenant change a refused pod as often as they like. The
// host is asked again only when the retry is due, or when the pod asks for something else.
func TestEventsDoNotSpeedUpRetries(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		reason string
		change func(*corev1.Pod)
		asks   bool
	}{
		"Status":     {"A status is no reason to ask again.", func(p *corev1.Pod) { p.Status.Message = "waits" }, false},
		"Annotation": {"Nor is an annotation.", func(p *corev1.Pod) { p.Annotations = map[string]string{"a": "b"} }, false},
		"Spec":       {"Another spec may fit.", func(p *corev1.Pod) { p.Generation++ }, true},
		"Replaced":   {"So may another pod of the name.", func(p *corev1.Pod) { p.UID = "v2" }, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			clock := clocktesting.NewFakeClock(testStart())
			pod := virtualPod(func(p *corev1.Pod) { p.Generation, p.Spec.NodeName, p.Status = 1, "", corev1.PodStatus{} })
			virtual, host := newFakeServer("virtual", clock, pod), newFakeServer("host", clock)
			asked := 0
			host.before = func(string, client.Object) error {
				asked++
				return apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "cart", errors.New("exceeded quota"))
			}
			b := newBench(pods(), clock, virtual, host)
			backoff := newRefusalBackoff(clock, func(types.NamespacedName) {})
			b.pendingRefusal = backoff.pendingRefusal
			if _, err := b.reconcile(t.Context(), theKey()); !isRefused(err) {
				t.Fatalf("the first create returns %v", err)
			}
			backoff.add(theKey())
			backoff.recordRefusal(theKey(), pod, &hostRefusal{errors.New("exceeded quota")})
			changed := pod.DeepCopy()
			c.change(changed)
			virtual.add(changed)
			b.refresh()
			before := asked
			_, err := b.reconcile(t.Context(), theKey())
			if got := asked > before; got != c.asks || errors.Is(err, errDeferred) == c.asks {
				t.Errorf("%s The host was asked: %t, %v", c.reason, got, err)
			}
			clock.Step(lastRefusedRetry)
			if key, _, ok := backoff.takeNext(); !ok || key != theKey() {
				t.Fatal("the retry is not due")
			}
			before = asked
			if _, err := b.reconcile(t.Context(), theKey()); !isRefused(err) || asked == before {
				t.Errorf("A retry that is due must ask the host, got %v", err)
			}
		})
	}
}
