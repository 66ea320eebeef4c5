package integration

import (
	"context"
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/custom"
	"github.com/sublet-dev/sublet/pkg/translate"
	"github.com/sublet-dev/sublet/test/await"
)

// TestSecretStaysForTheFinalizer deletes two custom resources of the tenant. A controller of the host cleans
// up after one of them, and needs its Secret for that. The copy of that Secret stays until the controller
// is done.
func TestSecretStaysForTheFinalizer(t *testing.T) {
	resource := "wells." + customGroup
	w := newCustomWorld(t, v1alpha1.Sync{ToHost: v1alpha1.ToHost{CustomResources: map[string]v1alpha1.CustomResource{resource: {Enabled: true}}}})
	ctx := t.Context()
	w.define(t, makeDefinition(t, "wells", "Well", apiextensionsv1.NamespaceScoped))
	secretKey := func(name string) client.ObjectKey {
		return translate.Derived(custom.Role(resource))(w.cluster, w.virtualKey(name))
	}
	wells := map[string]*unstructured.Unstructured{}
	for _, name := range []string{"deep", "flat"} {
		wells[name] = customObject("Well", w.namespace, name, map[string]any{"size": int64(1), "secretName": name})
		w.virtual.createServed(t, wells[name])
		w.virtual.createServed(t, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}})
		w.host.awaitObject(t, wells[name], w.hostKey(name), func(*unstructured.Unstructured) bool { return true })
		await.Until(t, "the copy of the Secret", func(ctx context.Context) error {
			return w.host.client.Get(ctx, secretKey(name), &corev1.Secret{})
		})
	}
	setFinalizers := func(finalizers string) {
		copied := customObject("Well", w.namespace, w.hostKey("deep").Name, nil)
		if err := w.host.client.Patch(ctx, copied, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":`+finalizers+`}}`))); err != nil {
			t.Fatal(err)
		}
	}
	setFinalizers(`["example.com/pump"]`)
	if err := errors.Join(w.virtual.client.Delete(ctx, wells["deep"]), w.virtual.client.Delete(ctx, wells["flat"])); err != nil {
		t.Fatal(err)
	}
	w.host.awaitObject(t, wells["deep"], w.hostKey("deep"), func(u *unstructured.Unstructured) bool { return u.GetDeletionTimestamp() != nil })
	w.isGone(t, &corev1.Secret{}, secretKey("flat")) // The other one had its chance: it came before.
	if err := w.host.client.Get(ctx, secretKey("deep"), &corev1.Secret{}); err != nil {
		t.Errorf("the controller of the host lacks the Secret: %v", err)
	}
	setFinalizers("null")
	w.isGone(t, wells["deep"], w.hostKey("deep"))
	w.isGone(t, &corev1.Secret{}, secretKey("deep"))
}
