package syncer

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/component-base/metrics/testutil"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/syncz"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// runnerBench is a runner between two fake servers whose keys the test works off
// itself. Each has a name of its own, as metrics are the process's.
type runnerBench struct {
	*runner
	*bench
	clock *clocktesting.FakeClock
}

func newRunnerBench(t *testing.T) *runnerBench {
	t.Helper()
	c := clocktesting.NewFakeClock(testStart())
	kind := configMaps()
	kind.name = fmt.Sprintf("%s-%p", t.Name(), c)
	b := newBench(kind, c, newFakeServer("virtual", c), newFakeServer("host", c))
	r := newRunner(kind, c, logr.Discard(), 1)
	r.reconciler = b.reconciler
	r.breaker = newHostBreaker(c, logr.Discard(), t.Context().Done())
	r.storeGuard = newStoreGuard(b.virtualServer, b.hostServer, testCluster(), c, logr.Discard())
	r.storeGuard.reason = ""
	r.reconciler.holdReason = r.storeGuard.onHold
	close(r.synced)
	t.Cleanup(r.queue.ShutDown)
	return &runnerBench{runner: r, bench: b, clock: c}
}

// step works off the next key, with fresh caches.
func (b *runnerBench) step(t *testing.T) {
	t.Helper()
	b.refresh()
	deadline := time.After(time.Minute)
	for b.queue.Len() == 0 {
		select {
		case <-deadline:
			t.Fatal("no key comes into the queue")
		case <-time.After(time.Millisecond):
		}
	}
	key, shutdown := b.queue.Get()
	if shutdown || !b.processWorkItem(t.Context(), key) {
		t.Fatal("the queue has ended")
	}
}

func TestUnreachableHostWaitsForTheBreaker(t *testing.T) {
	t.Parallel()
	b := newRunnerBench(t)
	b.virtualServer.add(virtualMap())
	b.hostServer.before = func(string, client.Object) error { return errUnreachable }
	b.breaker.cause = errors.New("away")
	b.enqueue(theKey())
	b.step(t)
	if check := b.check(); check.Healthy || !strings.Contains(check.Message, "1 objects wait for the host") {
		t.Errorf("The check must say what waits: %+v", check)
	}
	if n := b.queue.Len(); n != 0 || b.queue.NumRequeues(theKey()) != 0 {
		t.Errorf("Nothing must be tried while the breaker is tripped, %d in the queue", n)
	}
	b.hostServer.before, b.breaker.cause = nil, nil
	b.requeueParked()
	b.step(t)
	if b.hostServer.get(&corev1.ConfigMap{}, b.hostKey(theKey())) == nil {
		t.Error("The object must be synced when the breaker is reset")
	}
	if check := b.check(); !check.Healthy {
		t.Errorf("All is well again: %+v", check)
	}
}

func TestHeldDeleteGoesOnWhenReleased(t *testing.T) {
	t.Parallel()
	b := newRunnerBench(t)
	b.hostServer.add(hostMap("v1"))
	b.storeGuard.reason = "another store"
	b.enqueue(theKey())
	b.step(t)
	if check := b.check(); check.Healthy || !slices.Contains(check.Details, "on hold: web/cart") {
		t.Errorf("The check must name what is on hold: %+v", check)
	}
	b.storeGuard.reason = ""
	b.requeueParked()
	b.step(t)
	if b.hostServer.get(&corev1.ConfigMap{}, b.hostKey(theKey())) != nil {
		t.Error("The delete must go on when it is released")
	}
}

func TestScanCountsWhatEventsMissed(t *testing.T) {
	t.Parallel()
	b := newRunnerBench(t)
	count := func() float64 {
		value, err := testutil.GetCounterMetricValue(processMetrics().mismatches.WithLabelValues(b.kind.name))
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
	b.virtualServer.add(virtualMap()) // No event announces it.
	b.refresh()
	b.scan(t.Context())
	b.step(t)
	if got := count(); got != 1 {
		t.Errorf("An object that no event announced must count, got %g", got)
	}
	b.refresh()
	b.scan(t.Context())
	b.step(t)
	if got := count(); got != 1 {
		t.Errorf("An object that agrees must not count, got %g", got)
	}
	changed := virtualMap(func(m *corev1.ConfigMap) { m.Data["k"] = "w" })
	b.virtualServer.add(changed)
	b.refresh()
	b.enqueue(theKey())
	b.scan(t.Context())
	b.step(t)
	if got := count(); got != 1 {
		t.Errorf("An object whose event is on its way must not count, got %g", got)
	}
}

func TestLatencyIsMeasuredFromTheEvent(t *testing.T) {
	t.Parallel()
	b := newRunnerBench(t)
	b.virtualServer.add(virtualMap())
	b.enqueue(theKey())
	b.clock.Step(3 * time.Second)
	b.step(t)
	vector, err := testutil.GetHistogramVecFromGatherer(registry(), "sublet_sync_latency_seconds", map[string]string{"kind": b.kind.name})
	if err != nil {
		t.Fatal(err)
	}
	if got := vector.GetAggregatedSampleSum(); got != 3 {
		t.Errorf("The time from the event to the write is 3 s, got %g", got)
	}
}

func TestHandlerQueuesWhatAnObjectStoodFor(t *testing.T) {
	t.Parallel()
	b := newRunnerBench(t)
	h := &handler{runner: b.runner, ctx: t.Context(), side: Host, own: true, keys: b.originKey}
	before := hostMap("v1", func(m *corev1.ConfigMap) { m.ResourceVersion = "1" })
	after := before.DeepCopy()
	after.ResourceVersion, after.Annotations = "2", nil // It does not prove to be ours any more.
	h.OnUpdate(before, before)
	if b.queue.Len() != 0 {
		t.Error("An update without a new version is none")
	}
	h.OnUpdate(before, after)
	if key, _ := b.queue.Get(); key != theKey() {
		t.Errorf("The object that it stood for must be looked at, got %s", key)
	}
	b.runner.reconciler.expectations.recordWrite(Host, theKey(), after)
	h.OnDelete(before)
	if b.runner.reconciler.expectations.isStale(Host, theKey(), nil) {
		t.Error("What is gone must not be waited for")
	}
}

func TestStatusBlindHandler(t *testing.T) {
	t.Parallel()
	pod := func(edits ...func(*corev1.Pod)) *corev1.Pod {
		p := virtualPod(func(p *corev1.Pod) { p.ResourceVersion, p.Generation = "1", 1 })
		for _, edit := range edits {
			edit(p)
		}
		return p
	}
	tests := map[string]struct {
		reason        string
		before, after *corev1.Pod
		blind         bool
		want          int
	}{
		"Status": {
			reason: "A new status is nothing to a kind that does not look at it.", blind: true,
			before: pod(), after: pod(func(p *corev1.Pod) { p.ResourceVersion, p.Status.Phase = "2", corev1.PodFailed }),
		},
		"StatusMatters": {
			reason: "It is something to all others.", want: 1,
			before: pod(), after: pod(func(p *corev1.Pod) { p.ResourceVersion, p.Status.Phase = "2", corev1.PodFailed }),
		},
		"Spec": {
			reason: "A new generation is a new spec.", blind: true, want: 1,
			before: pod(), after: pod(func(p *corev1.Pod) { p.ResourceVersion, p.Generation = "2", 2 }),
		},
		"Labels": {
			reason: "Labels count no generation.", blind: true, want: 1,
			before: pod(), after: pod(func(p *corev1.Pod) { p.ResourceVersion, p.Labels = "2", map[string]string{"a": "b"} }),
		},
		"Deletion": {
			reason: "Nor does the end.", blind: true, want: 1,
			before: pod(), after: pod(withGrace(3), func(p *corev1.Pod) { p.ResourceVersion = "2" }),
		},
		"Recreated": {
			reason: "Another object is another object.", blind: true, want: 1,
			before: pod(), after: pod(func(p *corev1.Pod) { p.ResourceVersion, p.UID = "2", "v2" }),
		},
		"NoGeneration": {
			reason: "Where no generation is counted nothing can be told.", blind: true, want: 1,
			before: pod(func(p *corev1.Pod) { p.Generation = 0 }), after: pod(func(p *corev1.Pod) { p.ResourceVersion, p.Generation = "2", 0 }),
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newRunnerBench(t)
			h := &handler{runner: b.runner, ctx: t.Context(), own: true, statusBlind: tc.blind, keys: b.ownKey}
			h.OnUpdate(tc.before, tc.after)
			if got := b.queue.Len(); got != tc.want {
				t.Errorf("%s Queued %d, want %d", tc.reason, got, tc.want)
			}
			if b.storeGuard.reached != "2" {
				t.Errorf("The guard must learn of every version, it knows %q", b.storeGuard.reached)
			}
		})
	}
}

func TestKeysOnlyHandler(t *testing.T) {
	t.Parallel()
	b := newRunnerBench(t)
	keys := func(_ Scope, o client.Object) ([]types.NamespacedName, error) {
		var keys []types.NamespacedName
		for name := range strings.FieldsSeq(o.GetAnnotations()["refers"]) {
			keys = append(keys, types.NamespacedName{Namespace: o.GetNamespace(), Name: name})
		}
		return keys, nil
	}
	h := &handler{runner: b.runner, ctx: t.Context(), keysOnly: true, keys: keys}
	version := 0
	pod := func(refers string) *corev1.Pod {
		version++
		return virtualPod(func(p *corev1.Pod) {
			p.ResourceVersion, p.Annotations = strconv.Itoa(version), map[string]string{"refers": refers}
		})
	}
	for _, step := range []struct {
		reason        string
		before, after string
		want          []string
	}{
		{"Another change of a referrer is nothing to what it refers to.", "a b", "a b", nil},
		{"What it refers to from now on may need a copy,", "a b", "a b c", []string{"c"}},
		{"and what it refers to no more may not.", "a b", "b", []string{"a"}},
	} {
		h.OnUpdate(pod(step.before), pod(step.after))
		var got []string
		for b.queue.Len() != 0 {
			key, _ := b.queue.Get()
			b.queue.Done(key)
			got = append(got, key.Name)
		}
		if diff := cmp.Diff(step.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", step.reason, diff)
		}
	}
}

func TestChecks(t *testing.T) {
	t.Parallel()
	nowhere := &rest.Config{Host: "http://nowhere.test"}
	e, err := NewEngine(Options{Cluster: testCluster(), Virtual: nowhere, Host: nowhere, Kinds: []Kind{services()}, Log: silent()})
	if err != nil {
		t.Fatal(err)
	}
	want := []syncz.Check{
		{Name: "host", Healthy: true, Message: "Host API server reachable."},
		{Name: "store guard", Message: "Deletes on the host are on hold until the store is accepted.", Details: []string{reasonNotCompared}},
		{Name: "watches", Healthy: true, Message: "0 of 0 watches work."},
		{Name: "services", Message: "Caches are not synced.", Details: []string{"not started"}},
	}
	if diff := cmp.Diff(want, e.Checks()); diff != "" {
		t.Errorf("Before the start everything waits (-want +got):\n%s", diff)
	}
	close(e.runners["services"].synced)
	e.storeGuard.reason = ""
	if report := syncz.NewReport(e.Checks()...); !report.Healthy {
		t.Errorf("All is well, the checks are %+v", report)
	}
	if err := e.Add(services()); err == nil {
		t.Error("A name must not be given twice")
	}
	if err := e.Add(Define("x", Resource[*corev1.Pod, *corev1.Pod]{})); err == nil {
		t.Error("An incomplete kind must not be taken")
	}
	e.Drop("services")
	if err := e.Add(Define("services", Resource[*corev1.Pod, *corev1.Pod]{Names: translate.Hashed})); err != nil {
		t.Errorf("A name that was dropped is free: %v", err)
	}
}

// TestOverloadedHostSetsThePace lets the host ask for a pause that is longer than the backoff of a failed key.
func TestOverloadedHostSetsThePace(t *testing.T) {
	t.Parallel()
	b := newRunnerBench(t)
	b.virtualServer.add(virtualMap())
	overloaded := apierrors.NewTooManyRequests("too many requests", 4)
	b.hostServer.before = func(string, client.Object) error { return overloaded }
	b.enqueue(theKey())
	b.step(t)
	if check := b.check(); !strings.Contains(strings.Join(check.Details, " "), "too many requests") {
		t.Errorf("The check must have the answer of the host: %+v", check)
	}
	for pause, err := range map[time.Duration]error{
		4 * time.Second: overloaded, lastAskedPause: apierrors.NewTooManyRequests("", 7200), 0: errors.New("connection refused"),
	} {
		if got := b.askedPause(err); got < pause || got > pause+wakePause || pause == 0 && got != 0 {
			t.Errorf("After %q the key must wait for %s, got %s", err, pause, got)
		}
	}
	b.clock.Step(3 * time.Second)
	b.hostServer.before = nil
	// The queue may set its timer after a step, by the time before it.
	for deadline := time.Now().Add(time.Minute); b.queue.Len() == 0 && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		b.clock.Step(2 * time.Second)
	}
	b.step(t)
	if check := b.check(); !check.Healthy {
		t.Errorf("The object must be synced when the host has time: %+v", check)
	}
}

// TestNoKeyWaitsForYears checks that a key whose time a tenant has chosen leaves the queue.
func TestNoKeyWaitsForYears(t *testing.T) {
	t.Parallel()
	b := newRunnerBench(t)
	b.bench.reconciler.kind.down = func(s Scope, _, _ client.Object) error {
		s.RequeueAfter(100 * 365 * 24 * time.Hour)
		return nil
	}
	b.virtualServer.add(virtualMap())
	b.enqueue(theKey())
	b.step(t)
	b.clock.Step(longestWait)
	b.step(t) // It waits until a key comes.
}
