package syncer

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/translate"
)

// noKeys maps no event to a key.
func noKeys(Scope, client.Object) ([]types.NamespacedName, error) { return nil, nil }

// nodesWithImages returns a list of one host node that has images.
func nodesWithImages() *corev1.NodeList {
	return &corev1.NodeList{
		ListMeta: metav1.ListMeta{ResourceVersion: "5"},
		Items: []corev1.Node{{
			ObjectMeta: metav1.ObjectMeta{Name: "n1", UID: "h1", Labels: map[string]string{"hidden": "yes"}},
			Status:     corev1.NodeStatus{Images: []corev1.ContainerImage{{Names: []string{"big"}}}},
		}},
	}
}

func TestTrimDoesNotDependOnWhoStartsTheWatch(t *testing.T) {
	t.Parallel()
	trimming := nodes()
	trimming.trim = func(o client.Object) { o.(*corev1.Node).Status.Images = nil }
	reading := pods()
	reading.also = []Watch{{Side: Host, Object: &corev1.Node{}, All: true, Keys: noKeys}}
	for name, order := range map[string][]Kind{"TrimFirst": {trimming, reading}, "TrimLast": {reading, trimming}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, _, host := newTestEngine(t, order...)
			host.setList("/api/v1/nodes", nodesWithImages())
			startEngine(t, e)
			<-e.Synced()
			node := &corev1.Node{}
			if err := e.runners["pods"].hostReader.Get(t.Context(), client.ObjectKey{Name: "n1"}, node); err != nil {
				t.Fatal(err)
			}
			if len(node.Status.Images) != 0 {
				t.Error("The cache of nodes must not have what a kind trims, whichever kind started it")
			}
		})
	}
}

func TestKindReadsWhatItDeclared(t *testing.T) {
	t.Parallel()
	all := pods()
	all.name = "all"
	all.also = []Watch{{Side: Host, Object: &corev1.Secret{}, All: true, Keys: noKeys}}
	e, _, host := newTestEngine(t, secrets(), all, nodes())
	host.setList("/api/v1/namespaces/tenant/secrets", &corev1.SecretList{ListMeta: metav1.ListMeta{ResourceVersion: "5"}})
	startEngine(t, e)
	<-e.Synced()
	for kind, want := range map[string]string{"secrets": "sublet.dev/cluster=anchor-uid", "all": ""} {
		w, err := e.runners[kind].hostReader.watchFor(&corev1.Secret{})
		if err != nil || w.selector.String() != want {
			t.Errorf("Kind %s must read the watch %q that it declared, got %v, %v", kind, want, w, err)
		}
	}
	if _, err := e.runners["nodes"].hostReader.watchFor(&corev1.Secret{}); err == nil || !strings.Contains(err.Error(), "without watching") {
		t.Errorf("A kind must not read what another one has declared, got %v", err)
	}
}

func TestWatchesOfOneTypeAreApartByForm(t *testing.T) {
	t.Parallel()
	whole, metadata := secrets(), secrets()
	metadata.name, metadata.metadataOnly = "metadata", true
	custom := Define("custom", Resource[*unstructured.Unstructured, *unstructured.Unstructured]{
		Owner: Virtual, Names: translate.Derived("custom"),
		NewVirtual: newUnstructuredSecret, NewHost: newUnstructuredSecret,
	})
	e, virtual, host := newTestEngine(t, whole, metadata, custom)
	list := map[string]any{"apiVersion": "v1", "kind": "SecretList", "metadata": map[string]any{"resourceVersion": "5"}, "items": []any{}}
	virtual.setList("/api/v1/secrets", list)
	host.setList("/api/v1/namespaces/tenant/secrets", list)
	startEngine(t, e)
	<-e.Synced()
	virtual.await(t, map[string]int{"/api/v1/secrets  ": 3})
	host.await(t, map[string]int{hostSecrets: 2})
	want := map[string]string{"secrets": "virtual Secret", "metadata": "virtual Secret metadata", "custom": "virtual Secret unstructured"}
	got := map[string]string{}
	for name := range want {
		got[name] = e.runners[name].virtualStore.list()[0].name
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Each form has a watch and a name of its own (-want +got):\n%s", diff)
	}
}

// newUnstructuredSecret returns a Secret as a kind of a custom resource sees it.
func newUnstructuredSecret() *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetAPIVersion("v1")
	u.SetKind("Secret")
	return u
}

// sharedFactory is the control plane's informers, as far as the engine sees them.
type sharedFactory struct {
	informers.SharedInformerFactory
	asked chan schema.GroupVersionKind
	done  <-chan struct{}
}

// InformerFor implements VirtualInformers.
func (f *sharedFactory) InformerFor(gvk schema.GroupVersionKind) (toolscache.SharedIndexInformer, bool) {
	f.asked <- gvk
	if gvk.Kind != "Secret" {
		return nil, false
	}
	informer := f.Core().V1().Secrets().Informer()
	f.Start(f.done)
	return informer, true
}

func TestVirtualInformersAreSharedOverTwoTerms(t *testing.T) {
	t.Parallel()
	virtual, host := newListServer(t), newListServer(t)
	virtual.setList("/api/v1/secrets", &corev1.SecretList{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "SecretList"},
		ListMeta: metav1.ListMeta{ResourceVersion: "5"},
		Items:    []corev1.Secret{{ObjectMeta: metav1.ObjectMeta{Name: "s1", Namespace: "web", UID: "u1", Labels: map[string]string{"app": "shop"}}}},
	})
	clients, err := kubernetes.NewForConfig(virtual.config())
	if err != nil {
		t.Fatal(err)
	}
	factory := &sharedFactory{
		SharedInformerFactory: informers.NewSharedInformerFactory(clients, 0),
		asked:                 make(chan schema.GroupVersionKind, 16), done: t.Context().Done(),
	}
	kind := secrets()
	kind.want = func(Scope, client.Object, client.Object) (bool, error) { return false, nil }
	kind.indexes = []Index{{Side: Virtual, Object: &corev1.Secret{}, Field: "app", Values: func(o client.Object) []string {
		return []string{o.GetLabels()["app"]}
	}}}
	for range 2 {
		e, err := NewEngine(Options{
			Cluster: testCluster(), Virtual: virtual.config(), Host: host.config(),
			Kinds: []Kind{kind, tokens()}, VirtualInformers: factory, Log: silent(),
		})
		if err != nil {
			t.Fatal(err)
		}
		stop := startEngine(t, e)
		<-e.Synced()
		list := &corev1.SecretList{}
		err = e.runners["secrets"].virtualReader.List(t.Context(), list, client.InNamespace("web"), client.MatchingFields{"app": "shop"})
		if err != nil || len(list.Items) != 1 {
			t.Errorf("The index must work on a shared informer, got %d, %v", len(list.Items), err)
		}
		// The informer's own watch stays, those of the engine end with its term.
		virtual.await(t, map[string]int{"/api/v1/secrets  ": 1, "/api/v1/pods  ": 1})
		stop()
		virtual.await(t, map[string]int{"/api/v1/secrets  ": 1})
		host.await(t, map[string]int{})
	}
	if most := virtual.mostOf("/api/v1/secrets  "); most != 1 {
		t.Errorf("There must be one watch of Secrets, %d were open at a time", most)
	}
}

// newTestEngine returns an engine between two list servers that does not run yet.
func newTestEngine(t *testing.T, kinds ...Kind) (e *Engine, virtual, host *listServer) {
	t.Helper()
	virtual, host = newListServer(t), newListServer(t)
	e, err := NewEngine(Options{Cluster: testCluster(), Virtual: virtual.config(), Host: host.config(), Kinds: kinds, Log: silent()})
	if err != nil {
		t.Fatal(err)
	}
	return e, virtual, host
}

// awaitTimeout is how long a test waits for what must happen. Reflectors pause for up to
// half a minute between attempts, more than once.
const awaitTimeout = 3 * time.Minute
