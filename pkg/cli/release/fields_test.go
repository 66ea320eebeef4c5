package release

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apimachinery/pkg/util/managedfields/managedfieldstest"
	"k8s.io/cli-runtime/pkg/resource"
	"k8s.io/client-go/rest/fake"
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
		if err := host.Update(changed, "sublet"); err != nil {
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
		Path  string          `json:"path"`
		Value json.RawMessage `json:"value"`
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

// TestAdoptFieldsOnHost checks the requests to the host. An object that is gone gets no patch, and one that an earlier
// version has applied gets one. After a conflict, there is another try.
func TestAdoptFieldsOnHost(t *testing.T) {
	t.Parallel()
	const object = `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"shop","namespace":"tenant","resourceVersion":"7","managedFields":[
		{"manager":"%s","operation":"Apply","apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{"f:data":{}}}]},"data":{}}`
	for name, c := range map[string]struct {
		owner     string
		conflicts int
		want      []string
	}{
		"gone":     {want: []string{"GET"}},
		"earlier":  {owner: "sublet", want: []string{"GET", "PATCH"}},
		"conflict": {owner: "sublet", conflicts: 1, want: []string{"GET", "PATCH", "GET", "PATCH"}},
		"Helm":     {owner: fieldOwner, want: []string{"GET"}},
	} {
		var got []string
		answer := func(r *http.Request) (*http.Response, error) {
			got = append(got, r.Method)
			code, text := http.StatusOK, fmt.Sprintf(object, c.owner)
			if r.Method == http.MethodPatch && c.conflicts > 0 {
				c.conflicts--
				code, text = http.StatusConflict, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Conflict","code":409}`
			} else if c.owner == "" {
				code, text = http.StatusNotFound, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}`
			}
			header := http.Header{"Content-Type": {"application/json"}}
			return &http.Response{StatusCode: code, Header: header, Body: io.NopCloser(strings.NewReader(text))}, nil
		}
		kind := schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}
		info := &resource.Info{
			Client: &fake.RESTClient{
				NegotiatedSerializer: resource.UnstructuredPlusDefaultContentConfig().NegotiatedSerializer,
				Client:               fake.CreateHTTPClient(answer),
			},
			Mapping:   &meta.RESTMapping{Resource: kind.GroupVersion().WithResource("configmaps"), GroupVersionKind: kind, Scope: meta.RESTScopeNamespace},
			Namespace: "tenant", Name: "shop",
		}
		if err := adoptAll([]*resource.Info{info}); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: the requests are %q, want %q: %v", name, got, c.want, err)
		}
	}
}
