package syncer

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func TestMetadataOnlyKindReadsTheBodiesThatItNeeds(t *testing.T) {
	t.Parallel()
	secret := func(name, uid string) corev1.Secret {
		return corev1.Secret{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
			ObjectMeta: metav1.ObjectMeta{Namespace: "web", Name: name, UID: types.UID(uid), ResourceVersion: "4", Labels: map[string]string{"app": name},
				Annotations: map[string]string{corev1.LastAppliedConfigAnnotation: "the whole body once more", "note": "kept"}},
			Data: map[string][]byte{"password": []byte("of " + name)},
		}
	}
	used, unused := secret("used", "u1"), secret("unused", "u2")
	bodies := make(chan string, 8)
	kind := Define("secrets", Resource[*corev1.Secret, *corev1.Secret]{
		Owner: Virtual, Names: secrets().names, MetadataOnly: true,
		Want: func(_ Scope, virtual, _ *corev1.Secret) (bool, error) {
			if len(virtual.Data) != 0 {
				t.Errorf("Want must get metadata alone, got %v", virtual.Data)
			}
			return virtual.Labels["app"] == "used", nil
		},
		Down: func(_ Scope, virtual, host *corev1.Secret) error {
			bodies <- string(virtual.Data["password"])
			host.Data = virtual.Data
			return nil
		},
	})
	e, virtual, host := newTestEngine(t, kind)
	virtual.setList("/api/v1/secrets", &corev1.SecretList{ListMeta: metav1.ListMeta{ResourceVersion: "5"}, Items: []corev1.Secret{used, unused}})
	virtual.setList("/api/v1/namespaces/web/secrets/used", &used)
	startEngine(t, e)
	host.awaitWrite(t, hostSecretsPath)
	if diff := cmp.Diff("of used", <-bodies); diff != "" {
		t.Errorf("Down must get the body (-want +got):\n%s", diff)
	}
	cached := e.runners["secrets"].virtualStore.List()
	if len(cached) != 2 {
		t.Fatalf("The cache must know both Secrets, got %d", len(cached))
	}
	for _, object := range cached {
		if _, ok := object.(*metav1.PartialObjectMetadata); !ok {
			t.Errorf("The cache must not have bodies, got %T", object)
		}
		if diff := cmp.Diff(map[string]string{"note": "kept"}, object.GetAnnotations()); diff != "" {
			t.Errorf("Nor in an annotation (-want +got):\n%s", diff)
		}
	}
}

func TestMetadataOnlyIsForTheVirtualSide(t *testing.T) {
	t.Parallel()
	kind := Define("nodes", Resource[*corev1.Node, *corev1.Node]{Owner: Host, Names: nodes().names, MetadataOnly: true})
	if kind.problem == nil {
		t.Error("Up of a kind that the host owns needs whole virtual objects")
	}
}

func TestReplacedObjectIsNotReadForAnother(t *testing.T) {
	t.Parallel()
	b := newRunnerBench(t)
	b.bench.reconciler.kind.metadataOnly = true
	b.virtualServer.add(virtualMap())
	b.refresh()
	b.virtualServer.removeNow(virtualMap())
	b.virtualServer.add(virtualMap(func(m *corev1.ConfigMap) { m.UID, m.Data = "v9", map[string]string{"k": "another"} }))
	if again, err := b.bench.reconcile(t.Context(), theKey()); err != nil || again == 0 {
		t.Errorf("The watch is about to deliver the new object, got %s, %v", again, err)
	}
	if len(writesOf(b.hostServer)) != 0 {
		t.Error("The body of another object must not become the copy of this one")
	}
}

func TestBodyIsReadAgainOnlyAfterAChange(t *testing.T) {
	t.Parallel()
	b := newRunnerBench(t)
	b.bench.reconciler.kind.metadataOnly, b.bench.reconciler.kind.up = true, nil
	b.virtualServer.add(virtualMap())
	b.refresh()
	steps := []struct {
		reason string
		change func()
		reads  int
	}{
		{"The copy is created from the body.", func() {}, 1},
		{"The copy is compared once,", b.refresh, 1},
		{"and then no more, however often a referrer comes.", func() {}, 0},
		{"The tenant changes it.", func() {
			b.virtualServer.add(virtualMap(func(m *corev1.ConfigMap) { m.ResourceVersion, m.Data = "77", map[string]string{"k": "new"} }))
			b.refresh()
		}, 1},
		{"The patched copy is another one.", b.refresh, 1},
		{"It is known now.", func() {}, 0},
	}
	for _, step := range steps {
		step.change()
		reads := func() int { return len(b.virtualServer.requests) - len(writesOf(b.virtualServer)) }
		before := reads()
		if _, err := b.bench.reconcile(t.Context(), theKey()); err != nil {
			t.Fatal(err)
		}
		if got := reads() - before; got != step.reads {
			t.Errorf("%s Read %d bodies, want %d", step.reason, got, step.reads)
		}
	}
}

// TestCopiesAreCompared checks which versions of a copy another kind takes for current.
func TestCopiesAreCompared(t *testing.T) {
	t.Parallel()
	kind := func(compared bool) Kind {
		return Define("secrets", Resource[*corev1.Secret, *corev1.Secret]{Owner: Virtual, Names: secrets().names, Compared: compared})
	}
	object := func(uid, version string) *corev1.Secret {
		return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "web", Name: "s", UID: types.UID(uid), ResourceVersion: version}}
	}
	e, _, _ := newTestEngine(t, kind(true))
	s := e.runners["secrets"].reconciler.scope(t.Context())
	e.runners["secrets"].reconciler.compared.record(types.NamespacedName{Namespace: "web", Name: "s"}, object("v", "4"), object("h", "7"))
	for name, c := range map[string]struct {
		virtual, host client.Object
		want          bool
	}{
		"as they were":          {object("v", "4"), object("h", "7"), true},
		"the tenant changed it": {object("v", "5"), object("h", "7"), false},
		"created again":         {object("w", "4"), object("h", "7"), false},
		"the copy changed":      {object("v", "4"), object("h", "8"), false},
		"no kind compares them": {object("v", "5"), &corev1.ConfigMap{}, true},
	} {
		if got := s.IsCopied(c.virtual, c.host); got != c.want {
			t.Errorf("%s: is copied: %t, want %t", name, got, c.want)
		}
	}
	b := newRunnerBench(t)
	b.bench.reconciler.kind.compared = true
	b.virtualServer.add(virtualMap())
	b.refresh()
	for _, want := range []bool{false, true} {
		if _, err := b.bench.reconcile(t.Context(), theKey()); err != nil {
			t.Fatal(err)
		}
		b.refresh()
		host := b.hostView.Get(b.hostKey(theKey()))
		if got := b.compared.agree(theKey(), b.virtualView.Get(theKey()), host); got != want {
			t.Errorf("a copy that was found equal: %t, and the engine knows that: %t", want, got)
		}
	}
	other, _, _ := newTestEngine(t, kind(false))
	if !other.runners["secrets"].reconciler.scope(t.Context()).IsCopied(object("v", "5"), object("h", "7")) {
		t.Error("nobody waits for a kind that does not compare")
	}
}
