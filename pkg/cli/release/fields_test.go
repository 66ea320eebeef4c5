package release

import (
	"encoding/json"
	"maps"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apimachinery/pkg/util/managedfields/managedfieldstest"
)

// TestAdoptFields upgrades an object that an earlier version has applied under its own name. What the upgrade leaves
// out must go, and Helm's own program must find nobody else who owns its fields.
func TestAdoptFields(t *testing.T) {
	t.Parallel()
	object := func(keys ...string) *unstructured.Unstructured {
		data := map[string]any{}
		for _, key := range keys {
			data[key] = "x"
		}
		return &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "shop"}, "data": data,
		}}
	}
	for name, before := range map[string][]string{
		"an earlier version": {"sublet"}, "with kubectl too": {"kubectl-sublet", "sublet"},
		"with Helm too": {"sublet", fieldOwner}, "nobody else": {fieldOwner},
	} {
		host := managedfieldstest.NewTestFieldManager(managedfields.NewDeducedTypeConverter(), object().GroupVersionKind())
		for _, manager := range before {
			if err := host.Apply(object("kept", "dropped"), manager, true); err != nil {
				t.Fatal(err)
			}
		}
		changed, ok := host.Live().(*unstructured.Unstructured)
		if !ok {
			t.Fatalf("the object is a %T", host.Live())
		}
		changed.Object["data"].(map[string]any)["foreign"] = "x" //nolint:forcetypeassert // as above
		if err := host.Update(changed, "kubectl-edit"); err != nil {
			t.Fatal(err)
		}
		patched := adopted(t, host.Live())
		if err := host.Update(patched, "patch"); err != nil {
			t.Fatal(err)
		}
		if err := host.Apply(object("kept"), fieldOwner, true); err != nil {
			t.Fatal(err)
		}
		data, _, err := unstructured.NestedStringMap(host.Live().(*unstructured.Unstructured).Object, "data") //nolint:forcetypeassert // as above
		if keys := slices.Sorted(maps.Keys(data)); err != nil || !slices.Equal(keys, []string{"foreign", "kept"}) {
			t.Errorf("%s: the object has %q: %v", name, keys, err)
		}
		for _, entry := range host.ManagedFields() {
			if entry.Operation == metav1.ManagedFieldsOperationApply && entry.Manager != fieldOwner {
				t.Errorf("%s: %s owns fields too", name, entry.Manager)
			}
		}
		if patch, err := adoptionPatch(host.Live(), formerOwners()); err != nil || len(patch) > 0 {
			t.Errorf("%s: a second upgrade patches %s: %v", name, patch, err)
		}
	}
}

// adopted returns an object after its patch.
func adopted(t *testing.T, object runtime.Object) runtime.Object {
	t.Helper()
	patch, err := adoptionPatch(object, formerOwners())
	if err != nil {
		t.Fatal(err)
	}
	if len(patch) == 0 {
		return object
	}
	var operations []struct {
		Path  string
		Value json.RawMessage
	}
	if err := json.Unmarshal(patch, &operations); err != nil {
		t.Fatal(err)
	}
	var entries []metav1.ManagedFieldsEntry
	if err := json.Unmarshal(operations[0].Value, &entries); err != nil || operations[0].Path != "/metadata/managedFields" {
		t.Fatalf("the patch is %s: %v", patch, err)
	}
	copied := object.DeepCopyObject().(*unstructured.Unstructured) //nolint:forcetypeassert // see the caller
	copied.SetManagedFields(entries)
	return copied
}
