package syncer

import (
	"errors"
	"strings"
	"testing"

	"github.com/go-logr/logr/funcr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-base/metrics/testutil"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// panicCount returns how many panics of a kind were counted.
func panicCount(t *testing.T, kind string) float64 {
	t.Helper()
	value, err := testutil.GetCounterMetricValue(processMetrics().panics.WithLabelValues(kind))
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func TestPanicCostsOneKey(t *testing.T) {
	t.Parallel()
	boom := func() { panic("nil map") }
	tests := map[string]func(k *Kind, broken *bool){
		"Want": func(k *Kind, broken *bool) {
			want := k.want
			k.want = func(s Scope, virtual, host client.Object) (bool, error) {
				if *broken && virtual.GetName() == theKey().Name {
					boom()
				}
				return want(s, virtual, host)
			}
		},
		"Down": func(k *Kind, broken *bool) {
			down := k.down
			k.down = func(s Scope, virtual, host client.Object) error {
				if *broken && virtual.GetName() == theKey().Name {
					boom()
				}
				return down(s, virtual, host)
			}
		},
	}
	for name, edit := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newRunnerBench(t)
			broken := true
			edit(&b.bench.reconciler.kind, &broken)
			var lines []string
			b.runner.log = funcr.New(func(_, args string) { lines = append(lines, args) }, funcr.Options{})
			b.virtualServer.add(virtualMap())
			other := types.NamespacedName{Namespace: "web", Name: "other"}
			b.virtualServer.add(virtualMap(func(m *corev1.ConfigMap) { m.Name, m.UID = other.Name, "v2" }))
			b.enqueue(theKey())
			b.step(t)
			b.enqueue(other)
			b.step(t)
			if b.hostServer.get(&corev1.ConfigMap{}, b.hostKey(other)) == nil {
				t.Error("Other keys must be synced while one panics")
			}
			if got := panicCount(t, b.runner.kind.name); got != 1 {
				t.Errorf("The panic must be counted once, got %g", got)
			}
			if all := strings.Join(lines, "\n"); !strings.Contains(all, "nil map") || !strings.Contains(all, "panics_test.go") {
				t.Errorf("The log must have the stack:\n%s", all)
			}
			if b.queue.NumRequeues(theKey()) != 1 {
				t.Error("The key must back off")
			}
			check := b.check()
			if check.Healthy || !strings.Contains(check.Message, "panic") || !strings.Contains(strings.Join(check.Details, "\n"), "web/cart") {
				t.Errorf("The check must name the panic: %+v", check)
			}
			broken = false
			b.enqueue(theKey())
			b.step(t)
			if check := b.check(); !check.Healthy {
				t.Errorf("All is well again: %+v", check)
			}
		})
	}
}

func TestFailedEventIsRetried(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		reason string
		keys   func() ([]types.NamespacedName, error)
		panics float64
	}{
		"Error": {"An error of Keys must not lose the event.", func() ([]types.NamespacedName, error) {
			return nil, errors.New("cache not started")
		}, 0},
		"Panic": {"Nor must a panic, which would end the process.", func() ([]types.NamespacedName, error) {
			panic("index out of range")
		}, 1},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newRunnerBench(t)
			broken := true
			h := &handler{runner: b.runner, ctx: t.Context(), side: Virtual, what: "event of virtual ConfigMap",
				keys: func(s Scope, o client.Object) ([]types.NamespacedName, error) {
					if broken {
						return tc.keys()
					}
					return b.ownKey(s, o)
				}}
			h.OnAdd(virtualMap(), true)
			if b.queue.Len() != 0 || len(b.retries.objects) != 1 {
				t.Fatalf("%s Waiting: %d", tc.reason, len(b.retries.objects))
			}
			if got := panicCount(t, b.runner.kind.name); got != tc.panics {
				t.Errorf("%g panics were counted, want %g", got, tc.panics)
			}
			if check := b.check(); check.Healthy != (tc.panics == 0) {
				t.Errorf("The check must show a panic: %+v", check)
			}
			broken = false
			for event := range b.retries.objects {
				b.retryOneEvent(event)
			}
			if key, _ := b.queue.Get(); key != theKey() {
				t.Errorf("%s Got %s", tc.reason, key)
			}
			if check := b.check(); !check.Healthy || len(b.retries.objects) != 0 {
				t.Errorf("Nothing waits any more: %+v", check)
			}
		})
	}
}

func TestPanicInAnIndexOrATrimKeepsTheWatch(t *testing.T) {
	t.Parallel()
	b := newRunnerBench(t)
	index := b.withoutPanic(Index{Field: "x", Values: func(client.Object) []string { panic("index") }})
	if got := index.Values(virtualMap()); got != nil {
		t.Errorf("An object whose index panics has no values, got %v", got)
	}
	b.runner.kind.trim = func(client.Object) { panic("trim") }
	b.trimWithoutPanic()(virtualMap())
	b.runner.kind.origin = func(Scope, client.Object) (types.NamespacedName, bool) { panic("origin") }
	if _, ours, err := b.originOf(Scope{}, virtualMap()); ours || err == nil {
		t.Errorf("An origin that panics is an error, got %t, %v", ours, err)
	}
	if got := panicCount(t, b.runner.kind.name); got != 3 {
		t.Errorf("Each panic must be counted, got %g", got)
	}
}
