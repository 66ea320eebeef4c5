package integration

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsclient "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	definitionclient "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset/typed/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/metadata"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/app/customresources"
	"github.com/sublet-dev/sublet/pkg/custom"
	"github.com/sublet-dev/sublet/pkg/translate"
	"github.com/sublet-dev/sublet/test/await"
)

// customGroup is the group of the made-up custom resources.
const customGroup = "integration.example.com"

// makeDefinition returns the definition of a made-up kind.
func makeDefinition(t *testing.T, plural, kind string, scope apiextensionsv1.ResourceScope) *apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	s := &apiextensionsv1.JSONSchemaProps{}
	if err := yaml.UnmarshalStrict([]byte(`
type: object
properties:
  spec:
    type: object
    properties:
      size: {type: integer}
      secretName: {type: string}
      peerRef: {type: object, properties: {name: {type: string}}}
  status: {type: object, properties: {phase: {type: string}, message: {type: string}}}
`), s); err != nil {
		t.Fatal(err)
	}
	return &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: plural + "." + customGroup},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: customGroup, Scope: scope,
			Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: plural, Kind: kind},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: "v1", Served: true, Storage: true,
				Schema:       &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: s},
				Subresources: &apiextensionsv1.CustomResourceSubresources{Status: &apiextensionsv1.CustomResourceSubresourceStatus{}},
			}},
		},
	}
}

// customObject returns an object of a made-up kind.
func customObject(kind, namespace, name string, spec map[string]any) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{}}
	u.SetGroupVersionKind(schema.GroupVersionKind{Group: customGroup, Version: "v1", Kind: kind})
	u.SetNamespace(namespace)
	u.SetName(name)
	if spec != nil {
		u.Object["spec"] = spec
	}
	return u
}

// customWorld runs what syncs custom resources.
type customWorld struct {
	*release
	hostDefinitions, definitions definitionclient.CustomResourceDefinitionInterface
	synced                       *customresources.Definitions
	controller                   *customresources.Controller
}

func newCustomWorld(t *testing.T, settings v1alpha1.Sync) *customWorld {
	t.Helper()
	return newPollingWorld(t, settings, 0)
}

// newPollingWorld returns a world that looks at the APIs of the host once per period.
func newPollingWorld(t *testing.T, settings v1alpha1.Sync, period time.Duration) *customWorld {
	t.Helper()
	w := &customWorld{release: newRelease(t)}
	host, virtual := apiextensionsclient.NewForConfigOrDie(w.host.memory()), apiextensionsclient.NewForConfigOrDie(w.virtual.memory())
	w.hostDefinitions, w.definitions = host.ApiextensionsV1().CustomResourceDefinitions(), virtual.ApiextensionsV1().CustomResourceDefinitions()
	e := w.start(t, w.host.memory())
	var err error
	w.synced, err = customresources.NewDefinitions(customresources.Options{
		Client: virtual, Objects: metadata.NewForConfigOrDie(w.virtual.memory()), Settings: settings,
		AllowsHost: func(host string) bool { return strings.HasSuffix(host, ".example.com") },
	})
	if err != nil {
		t.Fatal(err)
	}
	w.controller = &customresources.Controller{
		Definitions: w.synced, Host: host, Virtual: virtual, Engine: e, Cluster: w.cluster, Log: logr.Discard(),
		APIs: w.newAPIs(t), Period: period,
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 2)
	go func() { ended <- w.synced.Run(ctx) }()
	go func() { ended <- w.controller.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-ended, <-ended); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return w
}

// define creates a definition on the host, which goes with the test on both sides.
func (w *customWorld) define(t *testing.T, definition *apiextensionsv1.CustomResourceDefinition) {
	t.Helper()
	t.Cleanup(func() {
		for _, definitions := range []definitionclient.CustomResourceDefinitionInterface{w.hostDefinitions, w.definitions} {
			_ = definitions.Delete(stopping, definition.Name, metav1.DeleteOptions{})
		}
	})
	if _, err := w.hostDefinitions.Create(t.Context(), definition, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// createServed creates an object as soon as its API server serves its kind.
func (c *cluster) createServed(t *testing.T, object client.Object) {
	t.Helper()
	await.Until(t, "creation of "+object.GetName(), func(ctx context.Context) error {
		return client.IgnoreAlreadyExists(c.client.Create(ctx, object))
	})
}

// awaitObject waits until an object passes a check.
func (c *cluster) awaitObject(t *testing.T, object *unstructured.Unstructured, key client.ObjectKey, check func(u *unstructured.Unstructured) bool) *unstructured.Unstructured {
	t.Helper()
	found := object.NewEmptyInstance().(*unstructured.Unstructured)
	await.Until(t, object.GetKind()+" "+key.String(), func(ctx context.Context) error {
		found.SetGroupVersionKind(object.GroupVersionKind())
		if err := c.client.Get(ctx, key, found); err != nil {
			return err
		}
		if !check(found) {
			return fmt.Errorf("it is %v", found.Object)
		}
		return nil
	})
	return found
}

func nested(u *unstructured.Unstructured, fields ...string) any {
	value, _, _ := unstructured.NestedFieldNoCopy(u.Object, fields...)
	return value
}

// TestCustomResourcesToHost syncs a made-up kind whose definition comes after the start. The
// Secret that an object names comes along, its status comes back, and all follow changes.
func TestCustomResourcesToHost(t *testing.T) {
	resource := "widgets." + customGroup
	w := newCustomWorld(t, v1alpha1.Sync{ToHost: v1alpha1.ToHost{CustomResources: map[string]v1alpha1.CustomResource{resource: {Enabled: true}}}})
	ctx := t.Context()
	if _, err := w.synced.Plan(resource); err == nil {
		t.Error("a kind without a definition has no plan")
	}
	w.define(t, makeDefinition(t, "widgets", "Widget", apiextensionsv1.NamespaceScoped))
	widget := customObject("Widget", w.namespace, "one", map[string]any{"size": int64(1), "secretName": "keys"})
	widget.SetLabels(map[string]string{"app": "a"})
	w.virtual.createServed(t, widget)
	w.virtual.createServed(t, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "keys"}, Data: map[string][]byte{"k": []byte("v")}})

	secretKey := translate.Derived(custom.Role(resource))(w.cluster, w.virtualKey("keys"))
	copied := w.host.awaitObject(t, widget, w.hostKey("one"), func(u *unstructured.Unstructured) bool { return nested(u, "spec", "size") == int64(1) })
	if nested(copied, "spec", "secretName") != secretKey.Name || copied.GetLabels()[translate.TenantLabel("app")] != "a" {
		t.Errorf("the copy is %v", copied.Object)
	}
	await.Until(t, "the copy of the Secret", func(ctx context.Context) error {
		return w.host.client.Get(ctx, secretKey, &corev1.Secret{})
	})

	status := client.RawPatch("application/merge-patch+json", []byte(`{"status":{"phase":"Ready","message":"`+copied.GetName()+` is ready"}}`))
	if err := w.host.client.Status().Patch(ctx, copied, status); err != nil {
		t.Fatal(err)
	}
	w.virtual.awaitObject(t, widget, w.virtualKey("one"), func(u *unstructured.Unstructured) bool {
		return nested(u, "status", "phase") == "Ready" && nested(u, "status", "message") == "one is ready"
	})
	// What the host adds stays, and what the tenant changes arrives.
	if err := w.host.client.Patch(ctx, copied, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"size":7}}`))); err != nil {
		t.Fatal(err)
	}
	if err := w.virtual.client.Patch(ctx, widget, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"app":"b"}}}`))); err != nil {
		t.Fatal(err)
	}
	w.host.awaitObject(t, widget, w.hostKey("one"), func(u *unstructured.Unstructured) bool {
		return nested(u, "spec", "size") == int64(7) && u.GetLabels()[translate.TenantLabel("app")] == "b"
	})
	if err := w.virtual.client.Patch(ctx, widget, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"size":2,"secretName":null}}`))); err != nil {
		t.Fatal(err)
	}
	w.host.awaitObject(t, widget, w.hostKey("one"), func(u *unstructured.Unstructured) bool {
		return nested(u, "spec", "size") == int64(2) && nested(u, "spec", "secretName") == nil
	})
	w.isGone(t, &corev1.Secret{}, secretKey)

	// An object that admission did not judge is judged before it gets a copy.
	w.virtual.createServed(t, customObject("Widget", w.namespace, "bad", map[string]any{"peerRef": map[string]any{"name": "x"}}))
	await.Until(t, "an Event about the field", func(ctx context.Context) error {
		var events corev1.EventList
		if err := w.virtual.client.List(ctx, &events, client.InNamespace(w.namespace)); err != nil {
			return err
		}
		for _, event := range events.Items {
			if event.InvolvedObject.Name == "bad" {
				return nil
			}
		}
		return fmt.Errorf("%d Events", len(events.Items))
	})
	if err := w.host.client.Get(ctx, w.hostKey("bad"), customObject("Widget", "", "", nil)); !apierrors.IsNotFound(err) {
		t.Errorf("an object with an unknown reference must have no copy: %v", err)
	}
	if err := w.virtual.client.Delete(ctx, widget); err != nil {
		t.Fatal(err)
	}
	w.isGone(t, customObject("Widget", "", "", nil), w.hostKey("one"))
	w.vanishAndReturn(t, resource)
}

// isGone waits until a host object is gone.
func (w *customWorld) isGone(t *testing.T, object client.Object, key client.ObjectKey) {
	t.Helper()
	await.Until(t, "the end of "+key.String(), func(ctx context.Context) error {
		if err := w.host.client.Get(ctx, key, object); !apierrors.IsNotFound(err) {
			return fmt.Errorf("it is there: %w", err)
		}
		return nil
	})
}

// vanishAndReturn deletes the definition on the host and creates it again. The tenant's
// objects stay.
func (w *customWorld) vanishAndReturn(t *testing.T, resource string) {
	t.Helper()
	ctx := t.Context()
	kept := customObject("Widget", w.namespace, "kept", map[string]any{"size": int64(3)})
	w.virtual.createServed(t, kept)
	size := func(u *unstructured.Unstructured) bool { return nested(u, "spec", "size") == int64(3) }
	w.host.awaitObject(t, kept, w.hostKey("kept"), size)
	if err := w.hostDefinitions.Delete(ctx, resource, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	await.Until(t, "a check that fails", func(context.Context) error {
		if checks := w.controller.Checks(); len(checks) != 1 || checks[0].Healthy {
			return fmt.Errorf("got %v", checks)
		}
		return nil
	})
	await.Until(t, "the end of the definition", func(ctx context.Context) error {
		if _, err := w.hostDefinitions.Get(ctx, resource, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("it is there: %w", err)
		}
		return nil
	})
	if _, err := w.hostDefinitions.Create(ctx, makeDefinition(t, "widgets", "Widget", apiextensionsv1.NamespaceScoped), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	w.host.awaitObject(t, kept, w.hostKey("kept"), size)
	w.virtual.awaitObject(t, kept, w.virtualKey("kept"), size)
}

// TestCustomResourcesFromHost shows made-up kinds of the host, with and without a namespace.
func TestCustomResourcesFromHost(t *testing.T) {
	w := newCustomWorld(t, v1alpha1.Sync{FromHost: v1alpha1.FromHost{CustomResources: map[string]v1alpha1.HostCustomResource{
		"shelves." + customGroup: {Enabled: true, Selector: metav1.LabelSelector{MatchLabels: map[string]string{"shown": "yes"}}},
		"books." + customGroup: {
			Enabled: true, Scope: v1alpha1.NamespacedScope,
			Mappings: v1alpha1.CustomMappings{ByName: map[string]string{"testcustomresourcesfromhost/atlas": "testcustomresourcesfromhost/map"}},
		},
	}}})
	w.define(t, makeDefinition(t, "shelves", "Shelf", apiextensionsv1.ClusterScoped))
	w.define(t, makeDefinition(t, "books", "Book", apiextensionsv1.NamespaceScoped))
	ctx := t.Context()
	shown, hidden := customObject("Shelf", "", "shown", map[string]any{"size": int64(1)}), customObject("Shelf", "", "hidden", nil)
	shown.SetLabels(map[string]string{"shown": "yes"})
	atlas := customObject("Book", w.namespace, "atlas", map[string]any{"size": int64(4)})
	for _, object := range []*unstructured.Unstructured{shown, hidden, atlas} {
		w.host.createServed(t, object)
	}
	shelf, book := client.ObjectKey{Name: "shown"}, w.virtualKey("map")
	w.virtual.awaitObject(t, shown, shelf, func(u *unstructured.Unstructured) bool { return nested(u, "spec", "size") == int64(1) })
	w.virtual.awaitObject(t, atlas, book, func(u *unstructured.Unstructured) bool { return nested(u, "spec", "size") == int64(4) })
	if err := w.host.client.Patch(ctx, shown, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"size":2}}`))); err != nil {
		t.Fatal(err)
	}
	w.virtual.awaitObject(t, shown, shelf, func(u *unstructured.Unstructured) bool { return nested(u, "spec", "size") == int64(2) })
	if err := w.virtual.client.Get(ctx, client.ObjectKey{Name: "hidden"}, customObject("Shelf", "", "", nil)); !apierrors.IsNotFound(err) {
		t.Errorf("what the selector leaves out must not be shown: %v", err)
	}
	if err := w.hostDefinitions.Delete(ctx, "shelves."+customGroup, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	await.Until(t, "the end of the copied definition", func(ctx context.Context) error {
		if _, err := w.definitions.Get(ctx, "shelves."+customGroup, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("it is there: %w", err)
		}
		return nil
	})
}

// TestCustomResourceReferences copies what refers to objects that the host shows, with the
// names of the host, and nothing that refers to others.
func TestCustomResourceReferences(t *testing.T) {
	resource, tomes, racks := "readers."+customGroup, "tomes."+customGroup, "racks."+customGroup
	w := newCustomWorld(t, v1alpha1.Sync{
		ToHost: v1alpha1.ToHost{CustomResources: map[string]v1alpha1.CustomResource{resource: {Enabled: true, References: []v1alpha1.Reference{
			{Path: "spec.peerRef.name", To: tomes}, {Path: "spec.secretName", To: racks},
		}}}},
		FromHost: v1alpha1.FromHost{CustomResources: map[string]v1alpha1.HostCustomResource{
			racks: {Enabled: true, Selector: metav1.LabelSelector{MatchLabels: map[string]string{"shown": "yes"}}},
			tomes: {
				Enabled: true, Scope: v1alpha1.NamespacedScope,
				Mappings: v1alpha1.CustomMappings{ByName: map[string]string{"testcustomresourcereferences/atlas": "testcustomresourcereferences/map"}},
			},
		}},
	})
	w.define(t, makeDefinition(t, "racks", "Rack", apiextensionsv1.ClusterScoped))
	w.define(t, makeDefinition(t, "tomes", "Tome", apiextensionsv1.NamespaceScoped))
	w.define(t, makeDefinition(t, "readers", "Reader", apiextensionsv1.NamespaceScoped))
	shown, hidden, atlas := customObject("Rack", "", "shown", nil), customObject("Rack", "", "hidden", nil), customObject("Tome", w.namespace, "atlas", nil)
	shown.SetLabels(map[string]string{"shown": "yes"})
	for _, object := range []*unstructured.Unstructured{shown, hidden, atlas} {
		w.host.createServed(t, object)
	}
	exists := func(*unstructured.Unstructured) bool { return true }
	w.virtual.awaitObject(t, shown, client.ObjectKey{Name: "shown"}, exists)
	w.virtual.awaitObject(t, atlas, w.virtualKey("map"), exists)

	good := customObject("Reader", w.namespace, "good", map[string]any{"secretName": "shown", "peerRef": map[string]any{"name": "map"}})
	w.virtual.createServed(t, good)
	w.host.awaitObject(t, good, w.hostKey("good"), func(u *unstructured.Unstructured) bool {
		return nested(u, "spec", "secretName") == "shown" && nested(u, "spec", "peerRef", "name") == "testcustomresourcereferences/atlas"
	})
	plan, err := w.synced.Plan(resource)
	if err != nil {
		t.Fatal(err)
	}
	for _, spec := range []map[string]any{{"secretName": "hidden"}, {"secretName": "missing"}, {"peerRef": map[string]any{"name": "atlas"}}} {
		if problems := plan.Check(map[string]any{"spec": spec}, w.namespace); len(problems) != 1 {
			t.Errorf("%v: got %v, want one problem", spec, problems)
		}
	}
}

// TestCustomResourcesOfTenant leaves a definition alone that a tenant has created.
func TestCustomResourcesOfTenant(t *testing.T) {
	resource := "tools." + customGroup
	w := newCustomWorld(t, v1alpha1.Sync{ToHost: v1alpha1.ToHost{CustomResources: map[string]v1alpha1.CustomResource{resource: {Enabled: true}}}})
	own := makeDefinition(t, "tools", "Hammer", apiextensionsv1.NamespaceScoped)
	if _, err := w.definitions.Create(t.Context(), own, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	w.define(t, makeDefinition(t, "tools", "Tool", apiextensionsv1.NamespaceScoped))
	await.Until(t, "the reason", func(context.Context) error {
		checks := w.controller.Checks()
		if len(checks[0].Details) == 0 || checks[0].Details[0] != "the virtual cluster has a definition of that name which is the tenant's; the tenant has to delete it" {
			return fmt.Errorf("got %v", checks)
		}
		return nil
	})
	found, err := w.definitions.Get(t.Context(), resource, metav1.GetOptions{})
	if err != nil || found.Spec.Names.Kind != "Hammer" {
		t.Errorf("the tenant's definition has changed: %v, %v", found, err)
	}
}
