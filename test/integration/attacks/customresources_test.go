package attacks

import (
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/sublet-dev/sublet/api/labels"
)

// madeUpDefinition is a definition of the host, without its scope and names.
const madeUpDefinition = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: PLURAL.example.com}
spec:
  group: example.com
  scope: SCOPE
  names: {plural: PLURAL, kind: KIND}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties:
              size: {type: integer}
              secretName: {type: string}
              namespace: {type: string}
              peerRef: {type: object, properties: {name: {type: string}}}
              podSelector: {type: string}
          status: {type: object, properties: {phase: {type: string}}}
`

// madeUp returns an object of a made-up kind, or its definition for the kind
// CustomResourceDefinition.
func madeUp(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
		t.Fatal(err)
	}
	return u
}

// define creates a definition on the host.
func (s *site) define(t *testing.T, plural, kind, scope string) {
	t.Helper()
	text := strings.NewReplacer("PLURAL", plural, "KIND", kind, "SCOPE", scope).Replace(madeUpDefinition)
	if err := s.owner.Create(t.Context(), madeUp(t, text)); err != nil {
		t.Fatal(err)
	}
}

// newWidget returns an object of the tenant.
func newWidget(t *testing.T, name, spec string) *unstructured.Unstructured {
	t.Helper()
	return madeUp(t, "{apiVersion: example.com/v1, kind: Widget, metadata: {namespace: "+virtualNamespace+", name: "+name+"}, spec: "+spec+"}")
}

// hostWidgets returns the copies on the host.
func (s *site) hostWidgets(ctx context.Context) ([]unstructured.Unstructured, error) {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "WidgetList"})
	err := s.owner.List(ctx, list, client.InNamespace(hostNamespace))
	return list.Items, err
}

// TestCustomResources attacks through made-up kinds whose definitions come after the start.
// The permissions are those of the chart alone.
func TestCustomResources(t *testing.T) {
	on := func(kind string) map[string]any {
		return map[string]any{"customResources": map[string]any{kind: map[string]any{"enabled": true}}}
	}
	s := installSite(t, "", map[string]any{"sync": map[string]any{"toHost": on("widgets.example.com"), "fromHost": on("shelves.example.com")}})
	s.define(t, "widgets", "Widget", "Namespaced")
	s.define(t, "shelves", "Shelf", "Cluster")
	shelf := madeUp(t, "{apiVersion: example.com/v1, kind: Shelf, metadata: {name: tall}, spec: {size: 3}}")
	eventually(t, "an object of the host", func(ctx context.Context) error {
		return client.IgnoreAlreadyExists(s.owner.Create(ctx, shelf.DeepCopy()))
	})
	s.create(t, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: virtualNamespace, Name: "keys"}})
	eventually(t, "a widget", func(ctx context.Context) error {
		return client.IgnoreAlreadyExists(s.tenant.Create(ctx, newWidget(t, "one", "{size: 1, secretName: keys}")))
	})
	var copied unstructured.Unstructured
	eventually(t, "its copy", func(ctx context.Context) error {
		all, err := s.hostWidgets(ctx)
		if err != nil || len(all) != 1 {
			return fmt.Errorf("%d copies, %w", len(all), err)
		}
		copied = all[0]
		return nil
	})
	name, _, _ := unstructured.NestedString(copied.Object, "spec", "secretName")
	eventually(t, "the copy of its Secret", func(ctx context.Context) error {
		return s.owner.Get(ctx, client.ObjectKey{Namespace: hostNamespace, Name: name}, &corev1.Secret{})
	})
	if err := s.owner.Status().Patch(t.Context(), &copied, client.RawPatch("application/merge-patch+json", []byte(`{"status":{"phase":"Ready"}}`))); err != nil {
		t.Fatal(err)
	}
	eventually(t, "its status", func(ctx context.Context) error {
		widget := newWidget(t, "one", "{}")
		err := s.tenant.Get(ctx, client.ObjectKeyFromObject(widget), widget)
		if phase, _, _ := unstructured.NestedString(widget.Object, "status", "phase"); phase != "Ready" {
			return fmt.Errorf("phase %q, %w", phase, err)
		}
		return nil
	})
	s.attackWidgets(t)
	s.attackCopies(t, shelf)
}

// attackWidgets tries to refer to what is not the tenant's.
func (s *site) attackWidgets(t *testing.T) {
	t.Helper()
	for spec, want := range map[string]string{
		"{peerRef: {name: x}}":        "sync.toHost.customResources[widgets.example.com].references",
		`{podSelector: "app == 'x'"}`: "looks like a selector",
		"{namespace: kube-system}":    "must be default or empty",
		"{namespace: tenant-attacks}": "must be default or empty",
	} {
		if err := s.tenant.Create(t.Context(), newWidget(t, "bad", spec)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s must be denied with %q: %v", spec, want, err)
		}
	}
}

// attackCopies tries to change what is the host's.
func (s *site) attackCopies(t *testing.T, shelf *unstructured.Unstructured) {
	t.Helper()
	ctx := t.Context()
	eventually(t, "the object of the host", func(ctx context.Context) error {
		return s.tenant.Get(ctx, client.ObjectKeyFromObject(shelf), shelf.DeepCopy())
	})
	definition := func(plural string) *unstructured.Unstructured {
		return madeUp(t, "{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: "+plural+".example.com}}")
	}
	const want = "is the host's and cannot be changed here"
	for _, object := range []*unstructured.Unstructured{shelf, definition("widgets"), definition("shelves")} {
		for what, err := range map[string]error{
			"a label":     s.tenant.Patch(ctx, object.DeepCopy(), client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"a":"b"}}}`))),
			"the mark":    s.tenant.Patch(ctx, object.DeepCopy(), client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"annotations":{"`+labels.HostUID+`":null}}}`))),
			"a finalizer": s.tenant.Patch(ctx, object.DeepCopy(), client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":["example.com/mine"]}}`))),
			"a deletion":  s.tenant.Delete(ctx, object.DeepCopy()),
		} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s of %s must be denied: %v", what, object.GetName(), err)
			}
		}
	}
	// Its server would make up objects of the host, and have some that no admission has seen.
	aggregated := madeUp(t, "{apiVersion: apiregistration.k8s.io/v1, kind: APIService, metadata: {name: v1.example.com}}")
	err := s.tenant.Patch(ctx, aggregated, mergePatch(`{"metadata":{"labels":null},"spec":{"service":{"namespace":"default","name":"mine"},"insecureSkipTLSVerify":true}}`))
	wantDenied(t, "a server of the tenant for kinds of the host", err, "are synced with the host")
	err = s.tenant.Status().Patch(ctx, definition("widgets"), client.RawPatch("application/merge-patch+json", []byte(`{"status":{"storedVersions":["v9"]}}`)))
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("a change of the status of a definition must be denied: %v", err)
	}
}
