package manifests

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"
	clocktesting "k8s.io/utils/clock/testing"
)

const text = `
# What every virtual cluster has.
apiVersion: v1
kind: Namespace
metadata: {name: team}
---
---
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: ConfigMap, metadata: {name: one}}
- {apiVersion: v1, kind: ConfigMap, metadata: {name: two, namespace: team}}
---
apiVersion: example.com/v1
kind: Widget
metadata: {name: late}
`

func TestParse(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		reason, text, want string
	}{
		{"Documents, comments and lists", text, ""},
		{"Nothing", "", ""},
		{"No YAML", "a: b: c", "document 1"},
		{"No object", "apiVersion: v1\nkind: ConfigMap\n---\nkind: ConfigMap", "document 1: it needs apiVersion, kind and metadata.name"},
		{"No object in a list", "{apiVersion: v1, kind: List, items: [{kind: ConfigMap}]}", "document 1"},
		{"A text", "just words", "document 1"},
	} {
		t.Run(c.reason, func(t *testing.T) {
			t.Parallel()
			_, err := parse(c.text)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("it is %v, want %q", err, c.want)
			}
		})
	}
}

// world is a virtual cluster that gets to know a kind late.
type world struct {
	*meta.DefaultRESTMapper

	mu      sync.Mutex
	applied []string
	// fails has the names that the API server refuses.
	fails map[string]bool
}

// Reset implements [meta.ResettableRESTMapper].
func (w *world) Reset() {
	w.Add(schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Widget"}, meta.RESTScopeRoot)
}

func (w *world) list() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.applied)
}

func newWorld() *world {
	w := &world{DefaultRESTMapper: meta.NewDefaultRESTMapper(nil), fails: map[string]bool{}}
	w.Add(schema.GroupVersionKind{Version: "v1", Kind: "Namespace"}, meta.RESTScopeRoot)
	w.Add(schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}, meta.RESTScopeNamespace)
	return w
}

func (w *world) client() *fake.FakeDynamicClient {
	client := fake.NewSimpleDynamicClient(runtime.NewScheme())
	client.PrependReactor("patch", "*", func(action clienttesting.Action) (bool, runtime.Object, error) {
		patch := action.(clienttesting.PatchAction)
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.fails[patch.GetName()] {
			delete(w.fails, patch.GetName())
			return true, nil, errors.New("not now")
		}
		if patch.GetPatchType() != types.ApplyPatchType {
			return true, nil, errors.New("no server-side apply")
		}
		w.applied = append(w.applied, patch.GetNamespace()+"/"+patch.GetName())
		return true, &unstructured.Unstructured{Object: map[string]any{}}, nil
	})
	return client
}

// TestRun applies manifests of which two fail at first: the API server refuses one, and does not know the
// kind of the other.
func TestRun(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.fails["two"] = true
	clock := clocktesting.NewFakeClock(time.Now())
	a := &Applier{Client: w.client(), Mapper: w, Sources: []Source{Text("manifests", text)}, Clock: clock}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()

	await(t, clock.HasWaiters)
	if diff := cmp.Diff([]string{"/team", "default/one"}, w.list()); diff != "" {
		t.Errorf("applied at first (-want +got):\n%s", diff)
	}
	if check := a.Checks()[0]; check.Healthy || len(check.Details) != 2 || check.Message != "2 objects are applied, others are not." {
		t.Errorf("the health is %+v", check)
	}
	clock.Step(firstRetry)
	await(t, func() bool { return a.Checks()[0].Healthy })
	if diff := cmp.Diff([]string{"/team", "default/one", "team/two", "/late"}, w.list()); diff != "" {
		t.Errorf("applied at last (-want +got):\n%s", diff)
	}
	if check := a.Checks()[0]; check.Message != "4 objects are applied." {
		t.Errorf("the health is %+v", check)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestRunOfNoYAML reports a wrong text, and neither ends nor applies a part of it.
func TestRunOfNoYAML(t *testing.T) {
	t.Parallel()
	w := newWorld()
	a := &Applier{Client: w.client(), Mapper: w, Sources: []Source{Text("manifests", text+"---\nkind: Nameless\n")}, Clock: clocktesting.NewFakeClock(time.Now())}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	if check := a.Checks()[0]; check.Healthy {
		t.Errorf("before it has looked, the health is %+v", check)
	}
	await(t, func() bool { return len(a.Checks()[0].Details) == 1 })
	if len(w.list()) != 0 {
		t.Errorf("it applies %v", w.list())
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// await waits until a condition holds.
func await(t *testing.T, holds func() bool) {
	t.Helper()
	deadline := time.After(time.Minute)
	for !holds() {
		select {
		case <-deadline:
			t.Fatal("it does not come")
		case <-time.After(time.Millisecond):
		}
	}
}
