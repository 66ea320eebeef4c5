package admission

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/custom"
)

// fromProcess marks the requests that come from within the process.
type fromProcess struct{}

func widget(spec map[string]any, annotations map[string]string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "example.com/v1", "kind": "Widget", "spec": spec}}
	u.SetName("one")
	u.SetNamespace("web")
	u.SetAnnotations(annotations)
	return u
}

// TestCustomResources denies what may leave the tenant, and changes of what is the host's.
func TestCustomResources(t *testing.T) {
	t.Parallel()
	plan, err := custom.Compile(&apiextensionsv1.JSONSchemaProps{Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{
		"spec": {Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{"namespace": {Type: "string"}, "peerRef": {
			Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{"name": {Type: "string"}},
		}}},
	}}, custom.Options{Setting: "sync.toHost.customResources[widgets.example.com]"})
	if err != nil {
		t.Fatal(err)
	}
	checks := Checks{}
	AddCustomResourceChecks(checks, CustomResourceOptions{
		ToHost: []string{"widgets.example.com", "late.example.com", "mine.example.com"}, FromHost: []string{"shelves.example.com"},
		Plan: func(definition string) (*custom.Plan, error) {
			if definition == "mine.example.com" {
				return nil, nil //nolint:nilnil // The tenant's own definition has no plan.
			}
			if definition == "late.example.com" {
				return nil, errors.New("the definition late.example.com is not synced from the host yet")
			}
			return plan, nil
		},
		IsTerminating: func(namespace string) bool { return namespace == "ending" },
		IsInternal:    func(ctx context.Context) bool { return ctx.Value(fromProcess{}) != nil },
	})
	peer := map[string]any{"peerRef": map[string]any{"name": "x"}}
	copied := map[string]string{labels.HostUID: "h"}
	leaving := widget(peer, nil)
	now := metav1.NewTime(time.Unix(1, 0))
	leaving.SetDeletionTimestamp(&now)
	definition := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: "widgets.example.com", Annotations: copied}}
	off := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: "off.example.com", Annotations: copied}}
	own := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: "own.example.com"}}
	for _, c := range []struct {
		reason      string
		resource    string
		subresource string
		operation   admission.Operation
		object, old runtime.Object
		internal    bool
		want        string // part of the denial, empty for none
	}{
		{"a plain object", "widgets.example.com", "", admission.Create, widget(map[string]any{}, nil), nil, false, ""},
		{"an unknown reference", "widgets.example.com", "", admission.Create, widget(peer, nil), nil, false, "sync.toHost.customResources[widgets.example.com].references"},
		{"another namespace", "widgets.example.com", "", admission.Update, widget(map[string]any{"namespace": "x"}, nil), widget(nil, nil), false, "must be web or empty"},
		{"an older object keeps what it has", "widgets.example.com", "", admission.Update, widget(peer, map[string]string{"a": "b"}), widget(peer, nil), false, ""},
		{"an object that leaves", "widgets.example.com", "", admission.Update, leaving, widget(nil, nil), false, ""},
		{"the status", "widgets.example.com", "status", admission.Update, widget(peer, nil), widget(nil, nil), false, ""},
		{"the end of an object", "widgets.example.com", "", admission.Delete, nil, widget(peer, nil), false, ""},
		{"a kind that is not known yet", "late.example.com", "", admission.Create, widget(map[string]any{}, nil), nil, false, "not synced from the host yet"},
		{"an object of the tenant's own definition", "mine.example.com", "", admission.Create, widget(peer, nil), nil, false, ""},
		{"a change of the host's object", "shelves.example.com", "", admission.Update, widget(nil, nil), widget(nil, copied), false, "is the host's"},
		{"a mark of the tenant's", "shelves.example.com", "", admission.Create, widget(nil, copied), nil, false, "only the syncer writes it"},
		{"a change of the host's definition", "customresourcedefinitions.apiextensions.k8s.io", "", admission.Update, definition, definition, false, "is the host's"},
		{"the end of it", "customresourcedefinitions.apiextensions.k8s.io", "", admission.Delete, nil, definition, false, "is the host's"},
		{"its status by the API server", "customresourcedefinitions.apiextensions.k8s.io", "status", admission.Update, definition, definition, true, ""},
		{"its status by the tenant", "customresourcedefinitions.apiextensions.k8s.io", "status", admission.Update, definition, definition, false, "is the host's"},
		{"a change of the definition of a kind that may be on again", "customresourcedefinitions.apiextensions.k8s.io", "", admission.Update, off, off, false, "is the host's"},
		{"the end of the definition of a kind that is off", "customresourcedefinitions.apiextensions.k8s.io", "", admission.Delete, nil, off, false, ""},
		{"a mark of the tenant's on a definition", "customresourcedefinitions.apiextensions.k8s.io", "", admission.Create, off, nil, false, "only the syncer writes it"},
		{"a definition of the tenant's", "customresourcedefinitions.apiextensions.k8s.io", "", admission.Update, own, own, false, ""},
	} {
		resource := toGroupResource(c.resource)
		ctx := t.Context()
		if c.internal {
			ctx = context.WithValue(ctx, fromProcess{}, true)
		}
		a := admission.NewAttributesRecord(c.object, c.old, schema.GroupVersionKind{}, "web", "one", resource.WithVersion("v1"), c.subresource, c.operation, nil, false, nil)
		err := Policy(PolicyOptions{Checks: checks}).Validate(ctx, a, nil)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.reason, err, c.want)
		}
	}
	none := Checks{}
	AddCustomResourceChecks(none, CustomResourceOptions{})
	if len(none) != 1 {
		t.Errorf("without a kind only the definitions of earlier ones are checked, got %d checks", len(none))
	}
}
