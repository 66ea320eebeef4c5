package syncer

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apilabels "k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/translate"
)

// sharedMaps returns a kind of the host that has the ConfigMaps of places, by the same name
// in the virtual namespace web.
func sharedMaps(places ...Place) Kind {
	return Define("shared", Resource[*corev1.ConfigMap, *corev1.ConfigMap]{
		Owner:            Host,
		Names:            translate.Same,
		Select:           apilabels.Everything(),
		Places:           places,
		CreatesNamespace: true,
		Origin: func(_ Scope, host *corev1.ConfigMap) (types.NamespacedName, bool) {
			return types.NamespacedName{Namespace: "web", Name: host.Name}, true
		},
		FindOriginal: func(s Scope, virtual types.NamespacedName) (*corev1.ConfigMap, bool, error) {
			host := &corev1.ConfigMap{}
			err := s.Host.Get(s.Context, types.NamespacedName{Namespace: "operator", Name: virtual.Name}, host)
			return host, err == nil, client.IgnoreNotFound(err)
		},
		Up: func(_ Scope, host, virtual *corev1.ConfigMap) error {
			virtual.Data = host.Data
			return nil
		},
	})
}

// mapIn returns a host ConfigMap of a namespace.
func mapIn(namespace, name string) corev1.ConfigMap {
	return corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID(namespace + name), ResourceVersion: "5"}}
}

func TestPlaces(t *testing.T) {
	t.Parallel()
	e, _, host := newTestEngine(t, sharedMaps(Place{Namespace: "operator", Name: "ca"}, Place{Namespace: "other"}, Place{Name: "own"}), secrets())
	list := func(items ...corev1.ConfigMap) *corev1.ConfigMapList {
		return &corev1.ConfigMapList{ListMeta: metav1.ListMeta{ResourceVersion: "5"}, Items: items}
	}
	host.setList("/api/v1/namespaces/operator/configmaps", list(mapIn("operator", "ca")))
	host.setList("/api/v1/namespaces/other/configmaps", list(mapIn("other", "a"), mapIn("other", "b")))
	host.setList("/api/v1/namespaces/tenant/configmaps", list())
	startEngine(t, e)
	<-e.Synced()
	host.await(t, map[string]int{
		hostSecrets: 1,
		"/api/v1/namespaces/operator/configmaps  metadata.namespace=operator,metadata.name=ca": 1,
		"/api/v1/namespaces/other/configmaps  metadata.namespace=other":                        1,
		"/api/v1/namespaces/tenant/configmaps  metadata.namespace=tenant,metadata.name=own":    1,
	})
	r := e.runners["shared"]
	if got := len(r.hostStore.List()); got != 3 {
		t.Errorf("The store must have the objects of all places, got %d", got)
	}
	for _, c := range []struct {
		key  types.NamespacedName
		want bool
	}{
		{types.NamespacedName{Namespace: "operator", Name: "ca"}, true},
		{types.NamespacedName{Namespace: "operator", Name: "key"}, false},
		{types.NamespacedName{Namespace: "other", Name: "b"}, true},
		{types.NamespacedName{Namespace: "third", Name: "b"}, false},
	} {
		err := r.hostReader.Get(t.Context(), c.key, &corev1.ConfigMap{})
		if found := err == nil; found != c.want || err != nil && !apierrors.IsNotFound(err) {
			t.Errorf("Get of %s: %v", c.key, err)
		}
		if found := r.hostStore.Get(c.key) != nil; found != c.want {
			t.Errorf("The store has %s: %t", c.key, found)
		}
	}
	everywhere := sharedMaps(Place{Namespace: EveryNamespace})
	everywhere.name = "everywhere"
	host.setList("/api/v1/configmaps", list(mapIn("third", "c")))
	if err := e.Add(everywhere); err != nil {
		t.Fatal(err)
	}
	<-e.runners["everywhere"].synced
	third := types.NamespacedName{Namespace: "third", Name: "c"}
	if err := e.runners["everywhere"].hostReader.Get(t.Context(), third, &corev1.ConfigMap{}); err != nil {
		t.Errorf("A kind of every namespace must read all of them: %v", err)
	}
	e.Drop("everywhere")
	e.Drop("shared")
	host.await(t, map[string]int{hostSecrets: 1})
}

// TestCopyIsNoLongerSelected takes a host object out of the selection of a kind with a FindOriginal.
// The API server still has it, and its copy goes all the same.
func TestCopyIsNoLongerSelected(t *testing.T) {
	t.Parallel()
	clock := clocktesting.NewFakeClock(testStart())
	original := mapIn("operator", "ca")
	virtual, host := newFakeServer("v", clock), newFakeServer("h", clock, &original)
	key := types.NamespacedName{Namespace: "web", Name: "ca"}
	kind := sharedMaps(Place{Namespace: "operator"})
	kind.selector = labelsOf("!hidden")
	b := newBench(kind, clock, virtual, host)
	if err := b.reconcileUntilQuiet(t, key); err != nil || virtual.get(&corev1.ConfigMap{}, key) == nil {
		t.Fatalf("The object is selected, and has no copy: %v", err)
	}
	hidden := host.get(&corev1.ConfigMap{}, client.ObjectKeyFromObject(&original))
	hidden.SetLabels(map[string]string{"hidden": ""})
	if err := host.Update(t.Context(), hidden); err != nil {
		t.Fatal(err)
	}
	b.refresh()
	if err := b.reconcileUntilQuiet(t, key); err != nil || virtual.get(&corev1.ConfigMap{}, key) != nil {
		t.Errorf("The object is no longer selected, and its copy has stayed: %v", err)
	}
}

func TestCopyBringsItsNamespace(t *testing.T) {
	t.Parallel()
	clock := clocktesting.NewFakeClock(testStart())
	original := mapIn("operator", "ca")
	virtual, host := newFakeServer("v", clock), newFakeServer("h", clock, &original)
	key := types.NamespacedName{Namespace: "web", Name: "ca"}
	b := newBench(sharedMaps(Place{Namespace: "operator"}), clock, virtual, host)
	missing := true
	virtual.before = func(verb string, object client.Object) error {
		switch object.(type) {
		case *corev1.Namespace:
			missing = false
		case *corev1.ConfigMap:
			if missing && verb == "create" {
				return apierrors.NewNotFound(corev1.Resource("namespaces"), key.Namespace)
			}
		}
		return nil
	}
	again, err := b.reconcile(t.Context(), key)
	if err != nil || again != namespacePause || virtual.get(&corev1.Namespace{}, types.NamespacedName{Name: "web"}) == nil {
		t.Fatalf("The namespace must be created, and the copy soon after: %v, %v", again, err)
	}
	if err := b.reconcileUntilQuiet(t, key); err != nil || virtual.get(&corev1.ConfigMap{}, key) == nil {
		t.Errorf("The copy must be created in the new namespace: %v", err)
	}
	terminating := apierrors.NewForbidden(corev1.Resource("configmaps"), "ca", nil)
	terminating.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}
	virtual.removeNow(virtual.get(&corev1.ConfigMap{}, key))
	virtual.before = func(string, client.Object) error { return terminating }
	b.refresh()
	b.clock.Step(expectationLife * 2)
	if again, err := b.reconcile(t.Context(), key); err != nil || again != namespacePause {
		t.Errorf("A namespace that is terminating is awaited, got %v, %v", again, err)
	}
}
