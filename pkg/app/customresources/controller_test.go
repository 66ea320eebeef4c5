package customresources

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset/fake"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/test/await"
)

const widgets = "widgets.example.com"

// recorder is an engine that records its kinds.
type recorder struct {
	mu    sync.Mutex
	kinds []string
	fails bool
}

func (r *recorder) Add(kind syncer.Kind) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fails {
		return errors.New("no")
	}
	r.kinds = append(r.kinds, kind.Name())
	return nil
}

func (r *recorder) Drop(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kinds = slices.DeleteFunc(r.kinds, func(k string) bool { return k == name })
}

func (r *recorder) fail(fails bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fails = fails
}

func (r *recorder) has(t *testing.T, want string) {
	t.Helper()
	await.Until(t, "kinds "+want, func(context.Context) error {
		r.mu.Lock()
		defer r.mu.Unlock()
		if got := strings.Join(r.kinds, ", "); got != want {
			return fmt.Errorf("got %q", got)
		}
		return nil
	})
}

// world is a controller between two clusters that only have definitions.
type world struct {
	host, virtual *fake.Clientset
	engine        *recorder
	definitions   *Definitions
	controller    *Controller
	apis          *apis
}

func newWorld(t *testing.T, settings v1alpha1.Sync) *world {
	t.Helper()
	w := &world{host: fake.NewClientset(), virtual: fake.NewClientset(), engine: &recorder{}, apis: &apis{answers: map[string]string{}}}
	var err error
	if w.definitions, err = NewDefinitions(Options{Client: w.virtual, Settings: settings}); err != nil {
		t.Fatal(err)
	}
	w.controller = &Controller{
		Definitions: w.definitions, Engine: w.engine, Log: logr.Discard(),
		Host: w.host, Virtual: w.virtual, APIs: w.apis.client(), Period: 10 * time.Millisecond,
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var group sync.WaitGroup
	for _, run := range []func(context.Context) error{w.definitions.Run, w.controller.Run} {
		group.Go(func() {
			if err := run(ctx); err != nil {
				t.Errorf("Run: %v", err)
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		group.Wait()
	})
	w.reports(t, "the host has no definition of that name")
	return w
}

// reports waits until the check of the only kind has a reason, empty for none.
func (w *world) reports(t *testing.T, reason string) {
	t.Helper()
	await.Until(t, "the reason "+reason, func(context.Context) error {
		checks := w.controller.Checks()
		if len(checks) != 1 || checks[0].Healthy != (reason == "") || !strings.Contains(strings.Join(checks[0].Details, ""), reason) {
			return fmt.Errorf("got %+v", checks)
		}
		return nil
	})
}

// define creates a definition on the host.
func (w *world) define(t *testing.T, change func(*apiextensionsv1.CustomResourceDefinition)) {
	t.Helper()
	d := definition()
	d.UID = "h"
	change(d)
	if _, err := w.host.ApiextensionsV1().CustomResourceDefinitions().Create(t.Context(), d, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// establish gives the copy of a definition what its API server gives it.
func (w *world) establish(t *testing.T) {
	t.Helper()
	await.Until(t, "the copy", func(ctx context.Context) error {
		found, err := w.virtual.ApiextensionsV1().CustomResourceDefinitions().Get(ctx, widgets, metav1.GetOptions{})
		if err != nil {
			return err
		}
		found.UID, found.ResourceVersion = "v", "2"
		found.Status = definition().Status
		_, err = w.virtual.ApiextensionsV1().CustomResourceDefinitions().Update(ctx, found, metav1.UpdateOptions{})
		return err
	})
}

func definition() *apiextensionsv1.CustomResourceDefinition {
	return &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: widgets},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: "example.com", Scope: apiextensionsv1.NamespaceScoped,
			Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: "widgets", Kind: "Widget"},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: "v1", Served: true, Storage: true,
				Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{
					Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{"secretName": {Type: "string"}},
				}},
			}},
		},
		Status: apiextensionsv1.CustomResourceDefinitionStatus{Conditions: []apiextensionsv1.CustomResourceDefinitionCondition{
			{Type: apiextensionsv1.Established, Status: apiextensionsv1.ConditionTrue},
		}},
	}
}

func same(*apiextensionsv1.CustomResourceDefinition) {}

func toHost(r v1alpha1.CustomResource) v1alpha1.Sync {
	r.Enabled = true
	return v1alpha1.Sync{ToHost: v1alpha1.ToHost{CustomResources: map[string]v1alpha1.CustomResource{widgets: r, "off.example.com": {}}}}
}

// allKinds lists the kinds that sync the definition, which has a field for a Secret and none for a ConfigMap.
const allKinds = "widgets.example.com, secrets of widgets.example.com"

// TestLifeOfAKind starts a kind with its definition, starts it again when that changes, and
// stops it when it goes.
func TestLifeOfAKind(t *testing.T) {
	t.Parallel()
	w := newWorld(t, toHost(v1alpha1.CustomResource{}))
	if _, err := w.definitions.Plan(widgets); err == nil {
		t.Error("there is no plan without a definition")
	}
	w.engine.fail(true)
	w.define(t, same)
	w.establish(t)
	w.reports(t, "cannot sync widgets.example.com: no")
	w.engine.fail(false)
	w.engine.has(t, allKinds)
	w.reports(t, "")
	if _, err := w.definitions.Plan(widgets); err != nil {
		t.Error(err)
	}
	if err := w.host.ApiextensionsV1().CustomResourceDefinitions().Delete(t.Context(), widgets, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.engine.has(t, "")
	w.reports(t, "the host has no definition of that name")
	if _, err := w.virtual.ApiextensionsV1().CustomResourceDefinitions().Get(t.Context(), widgets, metav1.GetOptions{}); err != nil {
		t.Errorf("the copy has the tenant's objects and must stay: %v", err)
	}
	w.define(t, func(d *apiextensionsv1.CustomResourceDefinition) { d.Spec.Names.ShortNames = []string{"w"} })
	w.engine.has(t, allKinds)
	await.Until(t, "the new definition", func(ctx context.Context) error {
		found, err := w.virtual.ApiextensionsV1().CustomResourceDefinitions().Get(ctx, widgets, metav1.GetOptions{})
		if err != nil || !slices.Equal(found.Spec.Names.ShortNames, []string{"w"}) || found.Annotations[labels.HostUID] != "h" {
			return fmt.Errorf("got %v, %w", found, err)
		}
		return nil
	})
}

// TestFromHostGoes deletes the copy of a definition with its original.
func TestFromHostGoes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, v1alpha1.Sync{FromHost: v1alpha1.FromHost{CustomResources: map[string]v1alpha1.HostCustomResource{widgets: {Enabled: true}}}})
	w.define(t, func(d *apiextensionsv1.CustomResourceDefinition) { d.Spec.Scope = apiextensionsv1.ClusterScoped })
	w.establish(t)
	w.engine.has(t, widgets)
	if err := w.host.ApiextensionsV1().CustomResourceDefinitions().Delete(t.Context(), widgets, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.engine.has(t, "")
	await.Until(t, "the end of the copy", func(ctx context.Context) error {
		if _, err := w.virtual.ApiextensionsV1().CustomResourceDefinitions().Get(ctx, widgets, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("it is there: %w", err)
		}
		return nil
	})
}

// TestMadeAgain makes a definition again on the host with another kind, which an API server
// does not let the copy become. Only objects of the tenant keep it.
func TestMadeAgain(t *testing.T) {
	t.Parallel()
	t.Run("ToHost", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, toHost(v1alpha1.CustomResource{}))
		w.define(t, same)
		w.establish(t)
		w.engine.has(t, allKinds)
		if err := w.host.ApiextensionsV1().CustomResourceDefinitions().Delete(t.Context(), widgets, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		w.define(t, func(d *apiextensionsv1.CustomResourceDefinition) { d.Spec.Names.Kind = "Gadget" })
		w.reports(t, "it now has the kind Gadget and the scope Namespaced, and the tenant's objects have Widget")
		w.engine.has(t, "")
	})
	t.Run("FromHost", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, v1alpha1.Sync{FromHost: v1alpha1.FromHost{CustomResources: map[string]v1alpha1.HostCustomResource{widgets: {Enabled: true}}}})
		virtual := definition()
		virtual.UID, virtual.Spec.Scope, virtual.Annotations = "before", apiextensionsv1.ClusterScoped, map[string]string{labels.HostUID: "before"}
		if _, err := w.virtual.ApiextensionsV1().CustomResourceDefinitions().Create(t.Context(), virtual, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		w.define(t, func(d *apiextensionsv1.CustomResourceDefinition) {
			d.Spec.Scope, d.Spec.Names.Kind = apiextensionsv1.ClusterScoped, "Gadget"
		})
		await.Until(t, "the new copy", func(ctx context.Context) error {
			found, err := w.virtual.ApiextensionsV1().CustomResourceDefinitions().Get(ctx, widgets, metav1.GetOptions{})
			if err != nil || found.Spec.Names.Kind != "Gadget" || found.UID == "before" {
				return fmt.Errorf("got %v, %w", found, err)
			}
			return nil
		})
	})
	t.Run("Stale", func(t *testing.T) {
		t.Parallel()
		live, virtual := definition(), definition()
		live.UID, virtual.UID = "newer", "copy"
		c := &Controller{Host: fake.NewClientset(live), Virtual: fake.NewClientset(virtual)}
		stale := definition()
		stale.UID, stale.Spec.Names.Kind = "older", "Gadget"
		if err := c.replace(t.Context(), kind{resource: widgets, fromHost: &v1alpha1.HostCustomResource{}}, stale, virtual, stale); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Virtual.ApiextensionsV1().CustomResourceDefinitions().Get(t.Context(), widgets, metav1.GetOptions{}); err != nil {
			t.Errorf("the copy is gone after a look at an older definition: %v", err)
		}
	})
}

// TestRefusedKinds looks at kinds that cannot be synced.
func TestRefusedKinds(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		reason   string
		settings v1alpha1.CustomResource
		change   func(*apiextensionsv1.CustomResourceDefinition)
		want     string
	}{
		"Scope":  {"another scope", v1alpha1.CustomResource{}, func(d *apiextensionsv1.CustomResourceDefinition) { d.Spec.Scope = apiextensionsv1.ClusterScoped }, "its scope on the host is Cluster"},
		"Served": {"no API server serves it", v1alpha1.CustomResource{}, func(d *apiextensionsv1.CustomResourceDefinition) { d.Status.Conditions = nil }, "does not serve it"},
		"Path":   {"a rule for nothing", v1alpha1.CustomResource{References: []v1alpha1.Reference{{Path: "spec.a", To: "secrets"}}}, same, "spec.a is no field of the schema"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, toHost(c.settings))
			w.define(t, c.change)
			if name != "Scope" {
				w.establish(t)
			}
			w.reports(t, c.want)
			w.engine.has(t, "")
		})
	}
}

// TestSelector refuses a selector that is not valid.
func TestSelector(t *testing.T) {
	t.Parallel()
	_, err := NewDefinitions(Options{Client: fake.NewClientset(), Settings: v1alpha1.Sync{FromHost: v1alpha1.FromHost{CustomResources: map[string]v1alpha1.HostCustomResource{
		widgets: {Enabled: true, Selector: metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Like"}}}},
	}}}})
	if err == nil || !strings.HasPrefix(err.Error(), "cannot use sync.fromHost.customResources[widgets.example.com].selector: ") {
		t.Errorf("got %v", err)
	}
}

// TestTenantsDefinition leaves a definition alone that is no copy.
func TestTenantsDefinition(t *testing.T) {
	t.Parallel()
	w := newWorld(t, toHost(v1alpha1.CustomResource{}))
	own := definition()
	own.Spec.Names.Kind = "Own"
	if _, err := w.virtual.ApiextensionsV1().CustomResourceDefinitions().Create(t.Context(), own, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	await.Until(t, "the definition in the cache", func(context.Context) error {
		if found, _ := w.definitions.watches[widgets].get(); found == nil {
			return errors.New("not yet")
		}
		return nil
	})
	w.define(t, same)
	w.reports(t, errTenantsDefinition.Error())
	if plan, err := w.definitions.Plan(widgets); plan != nil || err != nil {
		t.Errorf("no rule is for objects of the tenant's own definition, got %v, %v", plan, err)
	}
	if found, err := w.virtual.ApiextensionsV1().CustomResourceDefinitions().Get(t.Context(), widgets, metav1.GetOptions{}); err != nil || found.Spec.Names.Kind != "Own" {
		t.Errorf("it has changed: %v, %v", found, err)
	}
}
