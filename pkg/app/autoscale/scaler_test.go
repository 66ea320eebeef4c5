package autoscale

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"go.uber.org/zap"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/sublet-dev/sublet/pkg/storage"
	"github.com/sublet-dev/sublet/test/databases"
)

// patience bounds a wait for something that happens at once on an idle machine.
const patience = time.Minute

// eventually waits until check returns nil.
func eventually(t *testing.T, check func() error) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-ticker.C:
		case <-deadline.C:
			t.Fatal(err)
		}
	}
}

// stores returns an etcd and a SQL store. Both are embedded ones, which speak to clients as
// external ones do.
func stores(t *testing.T) map[string]storage.Backend {
	t.Helper()
	etcd := storage.Embedded(t.TempDir())
	etcd.NoSync, etcd.Logger = true, zap.NewNop()
	return map[string]storage.Backend{"etcd": etcd, "SQL": storage.SQLite(t.TempDir())}
}

func startStore(t *testing.T, name string, backend storage.Backend) kubernetes.Interface {
	t.Helper()
	if name == "SQL" {
		databases.SkipUnderRace(t)
	}
	t.Cleanup(backend.Stop)
	client, err := backend.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return client.Kubernetes
}

// TestReporter counts requests and reads their rate back, also after the process has started
// again and after another one has written.
func TestReporter(t *testing.T) {
	t.Parallel()
	for name, backend := range stores(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := startStore(t, name, backend)
			before := int64(0)
			for _, tc := range []struct {
				requests int
				want     float64
			}{{50, 5}, {0, 0}, {7, 0.7}} {
				clock := clocktesting.NewFakeClock(time.Unix(0, 0))
				reporter := &Reporter{Replica: "shop-0", Store: func() kubernetes.Interface { return store }, Clock: clock}
				stop := run(t, reporter.Run)
				eventually(t, waits(clock))
				for range tc.requests {
					reporter.Count()
				}
				clock.Step(ReportPeriod)
				eventually(t, func() error {
					rates, err := readRates(t.Context(), store)
					if err == nil && rates["shop-0"].revision == before {
						err = errors.New("there is no new report")
					}
					return err
				})
				rates, err := readRates(t.Context(), store)
				if err != nil {
					t.Fatal(err)
				}
				if got := rates["shop-0"].Rate; got != tc.want || len(rates) != 1 {
					t.Errorf("%d requests: got %v, want %g per second of shop-0", tc.requests, rates, tc.want)
				}
				before = rates["shop-0"].revision
				stop()
			}
		})
	}
}

// TestReportAgainstOthers writes the key of a replica from two processes in turn.
func TestReportAgainstOthers(t *testing.T) {
	t.Parallel()
	for name, backend := range stores(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := startStore(t, name, backend)
			one, two := reporterOf(store), reporterOf(store)
			for i, r := range []*Reporter{one, two, one, one, two} {
				if err := r.write(t.Context(), report{Rate: float64(i)}); err != nil {
					t.Errorf("write %d: %v", i, err)
				}
				if rates, err := readRates(t.Context(), store); err != nil || rates["shop-0"].Rate != float64(i) {
					t.Errorf("write %d: got %v, %v", i, rates, err)
				}
			}
		})
	}
}

func reporterOf(store kubernetes.Interface) *Reporter {
	return &Reporter{Replica: "shop-0", Store: func() kubernetes.Interface { return store }}
}

// run runs f until stop is called, or the test ends.
func run(t *testing.T, f func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// waits returns a check that somebody waits for the clock.
func waits(clock *clocktesting.FakeClock) func() error {
	return func() error {
		if !clock.HasWaiters() {
			return errors.New("nobody waits for the clock")
		}
		return nil
	}
}

// world is a scaler of a workload with one replica.
type world struct {
	t      *testing.T
	scaler *Scaler
	term   *term
	client *fake.Clientset
	store  kubernetes.Interface
	clock  *clocktesting.FakeClock
	writes []string
	events []string
}

func newWorld(t *testing.T, limits Limits) *world {
	t.Helper()
	one := int32(1)
	set := &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: "shop", Namespace: "tenant"}, Spec: appsv1.StatefulSetSpec{Replicas: &one},
	}
	etcd := stores(t)["etcd"]
	w := &world{
		t: t, client: fake.NewClientset(set), store: startStore(t, "etcd", etcd),
		clock: clocktesting.NewFakeClock(time.Unix(0, 0)),
	}
	w.client.PrependReactor("patch", "statefulsets", func(action clienttesting.Action) (bool, runtime.Object, error) {
		patch := action.(clienttesting.PatchAction)
		w.writes = append(w.writes, patch.GetSubresource()+" "+string(patch.GetPatch()))
		return false, nil, nil
	})
	w.scaler = &Scaler{
		Limits: limits, Clock: w.clock, Store: func() kubernetes.Interface { return w.store },
		Workloads: w.client.AppsV1().StatefulSets("tenant"), Workload: "shop",
		Replicas: func() ([]string, bool) { return w.pods(), true },
		Recorded: func(o Outcome) { w.events = append(w.events, fmt.Sprintf("%t %s", o.Failed, o.Message)) },
	}
	w.begin()
	return w
}

// begin begins a term of the leader.
func (w *world) begin() {
	w.term = &term{scaler: w.scaler, seen: map[string]seenRate{}}
	w.scaler.set(func(st *status) { *st = status{leads: true} })
}

// pods returns the pods of the workload.
func (w *world) pods() []string {
	w.t.Helper()
	set, err := w.client.AppsV1().StatefulSets("tenant").Get(w.t.Context(), "shop", metav1.GetOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	var pods []string
	for ordinal := range int(*set.Spec.Replicas) {
		pods = append(pods, fmt.Sprintf("shop-%d", ordinal))
	}
	return pods
}

// report reports a rate for each of the first pods.
func (w *world) report(rates ...float64) {
	w.t.Helper()
	for ordinal, rate := range rates {
		r := reporterOf(w.store)
		r.Replica = fmt.Sprintf("shop-%d", ordinal)
		if err := r.write(w.t.Context(), report{Rate: rate}); err != nil {
			w.t.Fatal(err)
		}
	}
}

// decideOnce decides once, after a period, and checks the number of replicas.
func (w *world) decideOnce(reason string, want int) {
	w.t.Helper()
	w.clock.Step(Period)
	if err := w.term.decide(w.t.Context()); err != nil {
		w.t.Fatalf("%s: %v", reason, err)
	}
	if got := len(w.pods()); got != want {
		w.t.Fatalf("%s: got %d replicas, want %d", reason, got, want)
	}
}

// TestScale scales up and down by what replicas report.
func TestScale(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Limits{Min: 1, Max: 3, Target: 20, Down: 45 * time.Second})
	w.report(100)
	w.decideOnce("a report from before the term may be old", 1)
	w.report(50)
	w.decideOnce("50 requests per second need three", 3)
	w.report(20, 18)
	w.decideOnce("the third has reported nothing, and counts as busy", 3)
	w.report(5, 5, 1)
	w.decideOnce("the window has just begun", 3)
	w.report(5, 5, 1)
	w.decideOnce("the window goes on", 3)
	w.report(5, 5, 1)
	w.decideOnce("one is enough since the window has begun", 1)
	if diff := cmp.Diff([]string{
		`scale [{"op":"test","path":"/spec/replicas","value":1},{"op":"replace","path":"/spec/replicas","value":3}]`,
		`scale [{"op":"test","path":"/spec/replicas","value":3},{"op":"replace","path":"/spec/replicas","value":1}]`,
	}, w.writes); diff != "" {
		t.Errorf("writes to the host (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{
		"false Scaled from 1 to 3 replicas, for 50.0 requests per second and a target of 20 each.",
		"false Scaled from 3 to 1 replicas, for 11.0 requests per second and a target of 20 each.",
	}, w.events); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// TestNewTerm begins a term while there are many replicas and little load. The window begins
// with the term, as nobody knows what the leader before has seen.
func TestNewTerm(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Limits{Min: 1, Max: 3, Target: 20, Down: 20 * time.Second})
	w.report(0)
	w.decideOnce("begin", 1)
	w.report(50)
	w.decideOnce("three are needed", 3)
	w.report(0, 0, 0)
	w.begin()
	w.decideOnce("all reports may be old", 3)
	w.report(0, 0, 0)
	w.decideOnce("the window has begun with the term", 3)
	w.report(0, 0, 0)
	w.decideOnce("the window is over", 1)
}

// TestSilence stops the reports. Their last rates count for a while.
func TestSilence(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Limits{Min: 1, Max: 5, Target: 20})
	w.decideOnce("nobody has reported yet", 1)
	w.report(90)
	w.decideOnce("one that is new counts at once", 5)
	w.decideOnce("it was 15 s ago", 5)
	w.decideOnce("it was 30 s ago", 5)
	w.decideOnce("too old: all are silent, and nobody knows", 5)
	if details := w.scaler.Checks()[0].Details; !slices.Contains(details, "5 replicas have reported no rate in the last 30s") {
		t.Errorf("/syncz does not tell that replicas are silent: %q", details)
	}
}

// TestBounds brings a number that somebody has set by hand back into the bounds, and leaves 0.
func TestBounds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Limits{Min: 2, Max: 3, Target: 20, Up: time.Hour, Down: time.Hour})
	w.decideOnce("too few", 2)
	w.scaleByHand(9)
	w.decideOnce("too many", 3)
	w.scaleByHand(0)
	w.decideOnce("asleep", 0)
}

// TestErrorAtZeroReplicas lets a request to the store fail, and scales the workload to 0. The failure is over then.
func TestErrorAtZeroReplicas(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Limits{Min: 1, Max: 3, Target: 20})
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.term.decide(ended); err == nil || w.scaler.Checks()[0].Healthy {
		t.Fatalf("the store fails: got error %v and check %+v", err, w.scaler.Checks()[0])
	}
	w.scaleByHand(0)
	w.decideOnce("asleep", 0)
	if check := w.scaler.Checks()[0]; !check.Healthy {
		t.Errorf("the store responds again: got check %+v, want a healthy one", check)
	}
}

func (w *world) scaleByHand(replicas int32) {
	w.t.Helper()
	sets := w.client.AppsV1().StatefulSets("tenant")
	set, err := sets.Get(w.t.Context(), "shop", metav1.GetOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	set.Spec.Replicas = &replicas
	if _, err := sets.Update(w.t.Context(), set, metav1.UpdateOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

// TestStaleNumber decides on a number that somebody changes before the write.
func TestStaleNumber(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Limits{Min: 1, Max: 5, Target: 20})
	w.decideOnce("begin", 1)
	w.scaler.Replicas = func() ([]string, bool) { return []string{"shop-0"}, true }
	w.scaleByHand(2)
	w.report(90)
	w.clock.Step(Period)
	if err := w.term.decide(t.Context()); err == nil {
		t.Error("the write was accepted")
	}
	if got := len(w.pods()); got != 2 {
		t.Errorf("got %d replicas, want the 2 that were set by hand", got)
	}
	check := w.scaler.Checks()[0]
	if check.Healthy || len(w.events) != 1 || !strings.HasPrefix(w.events[0], "true cannot patch the scale of host StatefulSet shop: ") {
		t.Errorf("got check %+v and events %q", check, w.events)
	}
}

// TestRun runs the scaler with its clock, and ends it.
func TestRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Limits{Min: 2, Max: 3, Target: 20})
	w.scaler.set(func(st *status) { *st = status{} })
	if checks := w.scaler.Checks(); len(checks) != 0 {
		t.Errorf("a follower reports %v", checks)
	}
	stop := run(t, w.scaler.Run)
	eventually(t, func() error {
		if checks := w.scaler.Checks(); len(checks) != 1 || len(checks[0].Details) == 0 {
			return fmt.Errorf("the leader reports %v", checks)
		}
		return nil
	})
	stop()
	if got := len(w.pods()); got != 2 {
		t.Errorf("got %d replicas, want 2", got)
	}
	if checks := w.scaler.Checks(); len(checks) != 0 {
		t.Errorf("a leader whose term is over reports %v", checks)
	}
}
