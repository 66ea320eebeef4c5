package integration

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/custom"
	"github.com/sublet-dev/sublet/pkg/translate"
	"github.com/sublet-dev/sublet/test/await"
)

// TestProducedSecrets brings back a Secret that a controller of the host writes for an object,
// and no other.
func TestProducedSecrets(t *testing.T) {
	resource := "bakers." + customGroup
	w := newCustomWorld(t, v1alpha1.Sync{ToHost: v1alpha1.ToHost{CustomResources: map[string]v1alpha1.CustomResource{resource: {
		Enabled: true, References: []v1alpha1.Reference{{Path: "spec.secretName", To: "secrets", Produced: true}},
	}}}})
	w.define(t, makeDefinition(t, "bakers", "Baker", apiextensionsv1.NamespaceScoped))
	ctx := t.Context()
	produced := func(name string) client.ObjectKey {
		return translate.Derived(custom.ProducedRole(resource))(w.cluster, w.virtualKey(name))
	}
	write := func(name string, kind corev1.SecretType) {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: produced(name).Name}, Type: kind, Data: map[string][]byte{"k": []byte("host")}}
		if err := w.host.client.Create(ctx, secret); err != nil {
			t.Fatal(err)
		}
	}
	// A Secret of the tenant stays as it is.
	own := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "own"}, Data: map[string][]byte{"k": []byte("tenant")}}
	w.virtual.createServed(t, own)
	for _, name := range []string{"own", "token", "bread"} {
		w.virtual.createServed(t, customObject("Baker", w.namespace, name, map[string]any{"secretName": name}))
	}
	write("own", corev1.SecretTypeOpaque)
	write("token", corev1.SecretTypeBootstrapToken)
	write("bread", corev1.SecretTypeOpaque)
	baker := w.host.awaitObject(t, customObject("Baker", "", "", nil), w.hostKey("bread"), func(u *unstructured.Unstructured) bool {
		return nested(u, "spec", "secretName") == produced("bread").Name
	})
	found := &corev1.Secret{}
	awaitData := func(want string) {
		t.Helper()
		await.Until(t, "the Secret with "+want, func(ctx context.Context) error {
			if err := w.virtual.client.Get(ctx, w.virtualKey("bread"), found); err != nil {
				return err
			}
			if string(found.Data["k"]) != want {
				return fmt.Errorf("it has %v", found.Data)
			}
			return nil
		})
	}
	awaitData("host")
	if len(found.OwnerReferences) != 1 || found.OwnerReferences[0].Kind != "Baker" || found.OwnerReferences[0].Name != "bread" {
		t.Errorf("the owners are %v", found.OwnerReferences)
	}
	change := client.RawPatch("application/merge-patch+json", []byte(`{"data":{"k":"bmV3"}}`))
	if err := w.host.client.Patch(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: produced("bread").Name}}, change); err != nil {
		t.Fatal(err)
	}
	awaitData("new")
	// The others had their chance: they came before.
	if err := w.virtual.client.Get(ctx, w.virtualKey("own"), found); err != nil || string(found.Data["k"]) != "tenant" {
		t.Errorf("the tenant's Secret is %v, %v", found.Data, err)
	}
	if err := w.virtual.client.Get(ctx, w.virtualKey("token"), found); !apierrors.IsNotFound(err) {
		t.Errorf("a token must not come back: %v", err)
	}
	if err := w.virtual.client.Delete(ctx, customObject("Baker", w.namespace, "bread", nil)); err != nil {
		t.Fatal(err)
	}
	w.isGone(t, baker, w.hostKey("bread"))
	await.Until(t, "the end of the Secret", func(ctx context.Context) error {
		if err := w.virtual.client.Get(ctx, w.virtualKey("bread"), found); !apierrors.IsNotFound(err) {
			return fmt.Errorf("it is there: %w", err)
		}
		return nil
	})
}
