package kinds

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/custom"
	"github.com/sublet-dev/sublet/pkg/syncer"
)

// producing returns the options of a kind for whose objects the host writes Secrets.
func producing(t *testing.T, resource, kind string) CustomOptions {
	t.Helper()
	text := apiextensionsv1.JSONSchemaProps{Type: "string"}
	plan, err := custom.Compile(&apiextensionsv1.JSONSchemaProps{Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{
		"spec": {Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{"secretName": text}},
	}}, custom.Options{References: []v1alpha1.Reference{{Path: "spec.secretName", To: "secrets", Produced: true}}})
	if err != nil {
		t.Fatal(err)
	}
	return CustomOptions{
		Resource: resource, Kind: schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: kind},
		Cluster: testCluster(), Plan: plan,
	}
}

// TestKindsOfSecrets lets several kinds show Secrets of the host. Each leaves the copies of
// the others alone.
func TestKindsOfSecrets(t *testing.T) {
	t.Parallel()
	certificates, keys := producing(t, "certificates.example.com", "Certificate"), producing(t, "keys.example.com", "Key")
	options := testOptions()
	options.Sync.FromHost.Secrets.Mappings.ByName = map[string]string{"shared/ca": "web/ca"}
	all := []syncer.Kind{
		syncer.Define("secrets from "+certificates.Resource, customProduced(certificates)),
		syncer.Define("secrets from "+keys.Resource, customProduced(keys)), syncer.Define("hostsecrets", HostSecrets(options)),
	}
	var indexes []syncer.Index
	for _, kind := range all {
		indexes = append(indexes, kind.Indexes()...)
	}
	virtual, host := newShelf(syncer.Virtual, indexes), newShelf(syncer.Host, indexes)
	names := []types.NamespacedName{{Namespace: "web", Name: "certificate"}, {Namespace: "web", Name: "key"}, {Namespace: "web", Name: "ca"}}
	for i, o := range []CustomOptions{certificates, keys} {
		owner := o.newEmpty()
		owner.SetNamespace("web")
		owner.SetName("one")
		owner.SetUID(types.UID(o.Kind.Kind))
		owner.Object["spec"] = map[string]any{"secretName": names[i].Name}
		virtual.putObject(owner)
		host.putObject(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: testCluster().Namespace, Name: o.producedName(names[i]), UID: types.UID("host of " + o.Kind.Kind)}})
	}
	host.putObject(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "shared", Name: "ca", UID: "host of ca"}})
	virtual.putObject(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "web"}})
	secrets := func(s *shelf) syncer.StepSide {
		return syncer.StepSide{Client: s, Objects: func() []client.Object { return s.ofType(&corev1.Secret{}) }}
	}
	for range 2 {
		for _, kind := range all {
			step := syncer.Step{
				Kind: kind, Cluster: testCluster(), Clock: clocktesting.NewFakePassiveClock(testNow()),
				Virtual: secrets(virtual), Host: secrets(host),
			}
			for _, name := range names {
				if _, err := step.Reconcile(t.Context(), name); err != nil {
					t.Errorf("%s: %s: %v", kind.Name(), name, err)
				}
			}
		}
	}
	if got := virtual.requests; !slices.Equal(got, []string{"create Secret certificate", "create Secret key", "create Secret ca"}) {
		t.Errorf("each Secret is created once, and then stays: %v", got)
	}
}

// TestProducedForTwo lets several objects name one Secret of the host. Its copy has the same owner
// however often it is looked at: each change of that would be a write, and cause the next one.
func TestProducedForTwo(t *testing.T) {
	t.Parallel()
	o := producing(t, "certificates.example.com", "Certificate")
	kind := syncer.Define("secrets from "+o.Resource, customProduced(o))
	virtual, host := newShelf(syncer.Virtual, kind.Indexes()), newShelf(syncer.Host, kind.Indexes())
	key := types.NamespacedName{Namespace: "web", Name: "tls"}
	for i, name := range []string{"a", "b", "c", "d"} {
		owner := o.newEmpty()
		owner.SetNamespace("web")
		owner.SetName(name)
		owner.SetUID(types.UID(name))
		owner.SetCreationTimestamp(metav1.NewTime(testNow().Add(-time.Duration(i) * time.Minute)))
		owner.Object["spec"] = map[string]any{"secretName": key.Name}
		virtual.putObject(owner)
	}
	virtual.putObject(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "web"}})
	host.putObject(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: testCluster().Namespace, Name: o.producedName(key), UID: "h"}})
	secrets := func(s *shelf) syncer.StepSide {
		return syncer.StepSide{Client: s, Objects: func() []client.Object { return s.ofType(&corev1.Secret{}) }}
	}
	step := syncer.Step{
		Kind: kind, Cluster: testCluster(), Clock: clocktesting.NewFakePassiveClock(testNow()), Virtual: secrets(virtual), Host: secrets(host),
	}
	for range 10 {
		if _, err := step.Reconcile(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		slices.Reverse(virtual.objects) // A cache lists in any order.
	}
	if got := virtual.requests; !slices.Equal(got, []string{"create Secret tls"}) {
		t.Errorf("the requests are %v", got)
	}
	copied, _ := virtual.ofKey(&corev1.Secret{}, key).(*corev1.Secret)
	if copied == nil || len(copied.OwnerReferences) != 1 || copied.OwnerReferences[0].Name != "d" {
		t.Errorf("the copy is %v, want one of the oldest object", copied)
	}
}
