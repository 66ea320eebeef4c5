package syncer

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// customServer is a listServer that knows custom resources: example.com/v1 has things,
// which are cluster-scoped and have no status subresource, and jars, which have one.
type customServer struct {
	*listServer
	front   *httptest.Server
	created chan map[string]any
}

func newCustomServer(t *testing.T) *customServer {
	t.Helper()
	s := &customServer{listServer: newListServer(t), created: make(chan map[string]any, 10)}
	s.front = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(func() {
		s.front.CloseClientConnections()
		s.front.Close()
	})
	return s
}

func (s *customServer) config() *rest.Config { return &rest.Config{Host: s.front.URL} }

func (s *customServer) serve(w http.ResponseWriter, r *http.Request) {
	answers := map[string]any{
		"/api": metav1.APIVersions{TypeMeta: metav1.TypeMeta{Kind: "APIVersions"}, Versions: []string{"v1"}},
		"/apis": metav1.APIGroupList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}, Groups: []metav1.APIGroup{{
			Name: "example.com", Versions: []metav1.GroupVersionForDiscovery{{GroupVersion: "example.com/v1", Version: "v1"}},
		}}},
		"/apis/example.com/v1": metav1.APIResourceList{
			TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: "example.com/v1",
			APIResources: []metav1.APIResource{
				{Name: "things", SingularName: "thing", Kind: "Thing", Verbs: metav1.Verbs{"list"}},
				{Name: "jars", SingularName: "jar", Kind: "Jar", Namespaced: true, Verbs: metav1.Verbs{"list"}},
				{Name: "jars/status", Kind: "Jar", Namespaced: true, Verbs: metav1.Verbs{"update"}},
			},
		},
	}
	answer, known := answers[r.URL.Path]
	switch {
	case known:
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer)
	case r.Method == http.MethodPost:
		object := map[string]any{}
		_ = json.NewDecoder(r.Body).Decode(&object)
		select {
		case s.created <- object:
		default:
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(object)
	default:
		s.ServeHTTP(w, r)
	}
}

// custom returns an empty custom resource.
func custom(kind string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: kind})
	return u
}

// hashedWithoutNamespace names host objects without a namespace.
func hashedWithoutNamespace(c translate.Cluster, virtual types.NamespacedName) types.NamespacedName {
	return types.NamespacedName{Name: translate.Hashed(c, virtual).Name}
}

// things returns a kind that is made from values: a cluster-scoped custom resource.
func things() Kind {
	empty := func() *unstructured.Unstructured { return custom("Thing") }
	return Define("things", Resource[*unstructured.Unstructured, *unstructured.Unstructured]{
		Owner: Virtual, Names: hashedWithoutNamespace, NewVirtual: empty, NewHost: empty,
		Down: func(_ Scope, virtual, host *unstructured.Unstructured) error {
			host.Object["spec"] = virtual.Object["spec"]
			return nil
		},
	})
}

// TestCustomKindWhileRunning adds a kind for a custom resource to a running engine and
// drops it again. Its host copies are cluster-scoped.
func TestCustomKindWhileRunning(t *testing.T) {
	t.Parallel()
	virtual, host := newCustomServer(t), newCustomServer(t)
	thing := custom("Thing")
	thing.SetName("big")
	thing.SetUID("v1")
	thing.SetResourceVersion("5")
	thing.Object["spec"] = map[string]any{"size": "1"}
	virtual.setList("/apis/example.com/v1/things", map[string]any{
		"apiVersion": "example.com/v1", "kind": "ThingList", "metadata": map[string]any{"resourceVersion": "5"}, "items": []any{thing.Object},
	})
	host.setList("/apis/example.com/v1/things", map[string]any{
		"apiVersion": "example.com/v1", "kind": "ThingList", "metadata": map[string]any{"resourceVersion": "5"}, "items": []any{},
	})
	e, err := NewEngine(Options{Cluster: testCluster(), Virtual: virtual.config(), Host: host.config(), Log: silent()})
	if err != nil {
		t.Fatal(err)
	}
	runTestEngine(t, e)
	if err := e.Add(things()); err != nil {
		t.Fatal(err)
	}
	var created map[string]any
	select {
	case created = <-host.created:
	case <-t.Context().Done():
		t.Fatal("no copy was created")
	}
	key := types.NamespacedName{Name: "big"}
	want := map[string]any{
		"apiVersion": "example.com/v1", "kind": "Thing", "spec": map[string]any{"size": "1"},
		"metadata": map[string]any{
			"name":        hashedWithoutNamespace(testCluster(), key).Name,
			"labels":      map[string]any{labels.Cluster: testCluster().UID, labels.Namespace: ""},
			"annotations": map[string]any{labels.VirtualName: "big", labels.VirtualNamespace: "", labels.VirtualUID: "v1"},
		},
	}
	if diff := cmp.Diff(want, created); diff != "" {
		t.Errorf("A cluster-scoped copy must have the label and no owner reference (-want +got):\n%s", diff)
	}
	virtual.await(t, map[string]int{"/apis/example.com/v1/things  ": 1})
	host.await(t, map[string]int{"/apis/example.com/v1/things sublet.dev/cluster=anchor-uid ": 1})
	e.Drop("things")
	virtual.await(t, map[string]int{})
	host.await(t, map[string]int{})
}

// runTestEngine runs an engine until the test ends.
func runTestEngine(t *testing.T, e *Engine) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	e.Lead()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// TestStatusDiscovery asks for built-in types and for custom resources.
func TestStatusDiscovery(t *testing.T) {
	t.Parallel()
	s := newCustomServer(t)
	mapper, err := newMapper(scheme.Scheme, s.config(), s.front.Client())
	if err != nil {
		t.Fatal(err)
	}
	d, err := newStatusDiscovery(scheme.Scheme, mapper, s.config(), s.front.Client())
	if err != nil {
		t.Fatal(err)
	}
	for kind, want := range map[string]bool{"Thing": false, "Jar": true} {
		for range 2 {
			if got, err := d.has(custom(kind)); err != nil || got != want {
				t.Errorf("%s: status %t, want %t, %v", kind, got, want, err)
			}
		}
	}
	if got, err := d.has(virtualPod()); err != nil || !got {
		t.Errorf("Pods have a status: %t, %v", got, err)
	}
	if got, err := d.has(virtualMap()); err != nil || got {
		t.Errorf("ConfigMaps have none: %t, %v", got, err)
	}
	if _, err := d.has(custom("Unknown")); err == nil {
		t.Error("A type that the API server does not know must be an error")
	}
}
