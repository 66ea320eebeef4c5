package customresources

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/test/await"
)

// newRunningWorld returns a world in which a kind of custom resources runs.
func newRunningWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, toHost(v1alpha1.CustomResource{}))
	w.define(t, same)
	w.establish(t)
	w.engine.has(t, allKinds)
	return w
}

// recordUpdates records the kinds that run at each later update of a virtual definition, and returns a function that
// lists them. The first update fails. The others get a version, as an API server gives it. Dry runs are not recorded.
func (w *world) recordUpdates() func() []string {
	var atUpdates []string
	react := func(action clienttesting.Action) (bool, runtime.Object, error) {
		if isDryRun(action) {
			return true, action.(clienttesting.UpdateAction).GetObject(), nil
		}
		w.engine.mu.Lock()
		atUpdates = append(atUpdates, strings.Join(w.engine.kinds, ", "))
		count := len(atUpdates)
		w.engine.mu.Unlock()
		update, ok := action.(clienttesting.UpdateAction)
		if !ok || count == 1 {
			return true, nil, errors.New("no")
		}
		d, ok := update.GetObject().(*apiextensionsv1.CustomResourceDefinition)
		if !ok {
			return false, nil, nil
		}
		d.ResourceVersion, d.Generation = strconv.Itoa(100+count), int64(count)
		return true, d, w.virtual.Tracker().Update(action.GetResource(), d, "")
	}
	w.virtual.Lock()
	defer w.virtual.Unlock()
	w.virtual.PrependReactor("update", "customresourcedefinitions", react)
	return func() []string {
		w.engine.mu.Lock()
		defer w.engine.mu.Unlock()
		return atUpdates
	}
}

// isDryRun reports whether an action is the dry run of an update.
func isDryRun(action clienttesting.Action) bool {
	update, ok := action.(clienttesting.UpdateActionImpl)
	return ok && len(update.UpdateOptions.DryRun) > 0
}

// redefine changes the definition on the host.
func (w *world) redefine(t *testing.T, change func(*apiextensionsv1.CustomResourceDefinition)) {
	t.Helper()
	definitions := w.host.ApiextensionsV1().CustomResourceDefinitions()
	found, err := definitions.Get(t.Context(), widgets, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	found.ResourceVersion = "2"
	change(found)
	if _, err := definitions.Update(t.Context(), found, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// TestStopsBeforeUpdate adds a field for a ConfigMap to the definition of a kind that runs. Its plan knows no such
// field, so it must not run any more once the virtual cluster may serve it.
func TestStopsBeforeUpdate(t *testing.T) {
	t.Parallel()
	w := newRunningWorld(t)
	atUpdates := w.recordUpdates()
	w.redefine(t, func(d *apiextensionsv1.CustomResourceDefinition) {
		d.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["configMapName"] = apiextensionsv1.JSONSchemaProps{Type: "string"}
	})
	w.engine.has(t, allKinds+", configmaps of "+widgets)
	w.reports(t, "")
	got := atUpdates()
	if len(got) < 2 {
		t.Errorf("the update was tried %d times, want another one after the failure", len(got))
	}
	for _, running := range got {
		if running != "" {
			t.Errorf("the kinds %s run with the older plan while the definition changes", running)
		}
	}
}

// TestRunsAfterAnnotations changes the annotations of a copy. No plan depends on them, so that the kind keeps running.
func TestRunsAfterAnnotations(t *testing.T) {
	t.Parallel()
	w := newRunningWorld(t)
	atUpdates := w.recordUpdates()
	w.redefine(t, func(d *apiextensionsv1.CustomResourceDefinition) {
		d.Annotations = map[string]string{apiextensionsv1.KubeAPIApprovedAnnotation: "https://example.com"}
	})
	await.Until(t, "the annotation", func(ctx context.Context) error {
		found, err := w.virtual.ApiextensionsV1().CustomResourceDefinitions().Get(ctx, widgets, metav1.GetOptions{})
		if err != nil || found.Annotations[apiextensionsv1.KubeAPIApprovedAnnotation] == "" {
			return fmt.Errorf("got %v, %w", found, err)
		}
		return nil
	})
	for _, running := range atUpdates() {
		if running != allKinds {
			t.Errorf("got the kinds %q, want %s", running, allKinds)
		}
	}
}

// TestRefusedDefinition lets the API server refuse the new definition. The kind keeps running with the one before.
func TestRefusedDefinition(t *testing.T) {
	t.Parallel()
	w := newRunningWorld(t)
	refused := make(chan bool, 100) // whether it was a dry run
	w.virtual.Lock()
	w.virtual.PrependReactor("update", "customresourcedefinitions", func(action clienttesting.Action) (bool, runtime.Object, error) {
		refused <- isDryRun(action)
		return true, nil, errors.New("no such function")
	})
	w.virtual.Unlock()
	w.redefine(t, func(d *apiextensionsv1.CustomResourceDefinition) { d.Spec.Names.ShortNames = []string{"w"} })
	for range 2 {
		if !<-refused {
			t.Error("it has stopped the kind before the API server has accepted the definition")
		}
	}
	w.engine.has(t, allKinds)
}

// TestUpdateWithoutEffect lets the API server drop what differs. No event follows, so that the kind must start at once.
func TestUpdateWithoutEffect(t *testing.T) {
	t.Parallel()
	w := newRunningWorld(t)
	dropped := make(chan struct{}, 100)
	w.virtual.Lock()
	w.virtual.PrependReactor("update", "customresourcedefinitions", func(action clienttesting.Action) (bool, runtime.Object, error) {
		stored, err := w.virtual.Tracker().Get(action.GetResource(), "", widgets)
		dropped <- struct{}{}
		return true, stored, err
	})
	w.virtual.Unlock()
	w.redefine(t, func(d *apiextensionsv1.CustomResourceDefinition) { d.Spec.Names.ShortNames = []string{"w"} })
	<-dropped
	w.engine.has(t, allKinds)
	w.reports(t, "")
}
