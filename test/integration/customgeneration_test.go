package integration

import (
	"fmt"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
)

// TestObservedGeneration lets the copy of an object be created again after two changes. Who waits
// for the tenant's object still sees when a controller of the host has seen its last change.
func TestObservedGeneration(t *testing.T) {
	resource := "gears." + customGroup
	w := newCustomWorld(t, v1alpha1.Sync{ToHost: v1alpha1.ToHost{CustomResources: map[string]v1alpha1.CustomResource{resource: {Enabled: true}}}})
	definition := makeDefinition(t, "gears", "Gear", apiextensionsv1.NamespaceScoped)
	schema := definition.Spec.Versions[0].Schema.OpenAPIV3Schema
	schema.Properties["status"].Properties["observedGeneration"] = apiextensionsv1.JSONSchemaProps{Type: "integer", Format: "int64"}
	w.define(t, definition)
	ctx := t.Context()
	gear := customObject("Gear", w.namespace, "one", map[string]any{"size": int64(1)})
	w.virtual.createServed(t, gear)
	hasSize := func(size int64) func(*unstructured.Unstructured) bool {
		return func(u *unstructured.Unstructured) bool { return nested(u, "spec", "size") == size }
	}
	patch := func(c client.Writer, object *unstructured.Unstructured, text string) {
		t.Helper()
		if err := c.Patch(ctx, object, client.RawPatch("application/merge-patch+json", []byte(text))); err != nil {
			t.Fatal(err)
		}
	}
	for size := int64(2); size <= 3; size++ {
		patch(w.virtual.client, gear, fmt.Sprintf(`{"spec":{"size":%d}}`, size))
		w.host.awaitObject(t, gear, w.hostKey("one"), hasSize(size))
	}
	copied := w.host.awaitObject(t, gear, w.hostKey("one"), hasSize(3))
	if err := w.host.client.Delete(ctx, copied); err != nil {
		t.Fatal(err)
	}
	again := w.host.awaitObject(t, gear, w.hostKey("one"), func(u *unstructured.Unstructured) bool { return u.GetUID() != copied.GetUID() && hasSize(3)(u) })
	status := fmt.Sprintf(`{"status":{"phase":"Ready","observedGeneration":%d}}`, again.GetGeneration())
	if err := w.host.client.Status().Patch(ctx, again, client.RawPatch("application/merge-patch+json", []byte(status))); err != nil {
		t.Fatal(err)
	}
	w.virtual.awaitObject(t, gear, w.virtualKey("one"), func(u *unstructured.Unstructured) bool {
		return u.GetGeneration() == 3 && nested(u, "status", "observedGeneration") == u.GetGeneration()
	})
}
