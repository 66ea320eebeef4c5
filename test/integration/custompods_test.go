package integration

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/translate"
	"github.com/sublet-dev/sublet/test/await"
)

// TestPodsThatAreNoCopies lets a controller of the host make a pod from a template of the tenant. The
// network policies of the release select the pod. The tenant has put the labels of a copy into the template.
// All the same the engine neither changes nor shows the pod, while it deletes an orphan next to it.
func TestPodsThatAreNoCopies(t *testing.T) {
	machines := "machines." + customGroup
	w := newCustomWorld(t, v1alpha1.Sync{ToHost: v1alpha1.ToHost{CustomResources: map[string]v1alpha1.CustomResource{machines: {
		Enabled: true, AllowedFields: []string{"spec.size"},
		References: []v1alpha1.Reference{{Path: "spec.template.metadata", To: v1alpha1.ToPodMetadata}},
	}}}})
	definition := makeDefinition(t, "machines", "Machine", apiextensionsv1.NamespaceScoped)
	template := &apiextensionsv1.JSONSchemaProps{}
	if err := yaml.UnmarshalStrict([]byte(`{type: object, properties: {metadata: {type: object, x-kubernetes-preserve-unknown-fields: true}, priority: {type: string}}}`), template); err != nil {
		t.Fatal(err)
	}
	definition.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"].Properties["template"] = *template
	w.define(t, definition)
	chosen := map[string]any{"app": "db", labels.Cluster: w.cluster.UID, labels.Namespace: w.namespace, labels.Release: "other"}
	machine := customObject("Machine", w.namespace, "db", map[string]any{"size": int64(1), "template": map[string]any{"metadata": map[string]any{"labels": chosen}}})
	w.virtual.createServed(t, machine)
	copied := w.host.awaitObject(t, machine, w.hostKey("db"), func(u *unstructured.Unstructured) bool { return nested(u, "spec", "size") == int64(1) })

	launcher := w.launcherOf(t, copied)
	if got := launcher.Labels[labels.Release]; got != w.cluster.Name || launcher.Labels[labels.Cluster] != "" || launcher.Labels[translate.TenantLabel("app")] != "db" {
		t.Fatalf("the labels of the pod are %v", launcher.Labels)
	}
	orphan := &corev1.Pod{Spec: *launcher.Spec.DeepCopy()}
	translate.Stamp(w.cluster, translate.Hashed, w.virtualKey("gone"), "gone", orphan)
	if err := w.host.client.Create(t.Context(), orphan); err != nil {
		t.Fatal(err)
	}
	w.startSome(t, w.allKinds(), "pods", "networkpolicies", "events")
	w.isGone(t, &corev1.Pod{}, client.ObjectKeyFromObject(orphan))
	after := &corev1.Pod{}
	if err := w.host.client.Get(t.Context(), client.ObjectKeyFromObject(launcher), after); err != nil || after.UID != launcher.UID || after.ResourceVersion != launcher.ResourceVersion || after.DeletionTimestamp != nil {
		t.Errorf("the pod is %v: %v", after.ObjectMeta, err)
	}
	var pods corev1.PodList
	if err := w.virtual.client.List(t.Context(), &pods, client.InNamespace(w.namespace)); err != nil || len(pods.Items) > 0 {
		t.Errorf("the tenant sees the pods %v: %v", pods.Items, err)
	}
	w.refuses(t, "spec.template.priority", map[string]any{"template": map[string]any{"priority": "system-node-critical"}})
	w.refuses(t, "spec.template.metadata.annotations", map[string]any{"template": map[string]any{"metadata": map[string]any{"annotations": map[string]any{"a/b": "c"}}}})
}

// launcherOf makes the pod of a machine, as a controller of the host does.
func (w *customWorld) launcherOf(t *testing.T, machine *unstructured.Unstructured) *corev1.Pod {
	t.Helper()
	own, _, err := unstructured.NestedStringMap(machine.Object, "spec", "template", "metadata", "labels")
	if err != nil {
		t.Fatal(err)
	}
	own = maps.Clone(own)
	own["example.com/made-by"] = "launcher"
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: machine.GetNamespace(), Name: "launcher-" + machine.GetName(), Labels: own},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "compute", Image: "none"}}, TerminationGracePeriodSeconds: new(int64)},
	}
	if err := w.host.client.Create(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	return pod
}

// refuses waits for an Event about a field of a machine that admission did not judge. It has no copy.
func (w *customWorld) refuses(t *testing.T, field string, spec map[string]any) {
	t.Helper()
	name := strings.ToLower(strings.ReplaceAll(field, ".", "-"))
	w.virtual.createServed(t, customObject("Machine", w.namespace, name, spec))
	await.Until(t, "an Event about "+field, func(ctx context.Context) error {
		var events corev1.EventList
		if err := w.virtual.client.List(ctx, &events, client.InNamespace(w.namespace)); err != nil {
			return err
		}
		for _, event := range events.Items {
			if event.InvolvedObject.Name == name && strings.Contains(event.Message, field) {
				return nil
			}
		}
		return fmt.Errorf("%d Events", len(events.Items))
	})
	if err := w.host.client.Get(t.Context(), w.hostKey(name), customObject("Machine", "", "", nil)); !apierrors.IsNotFound(err) {
		t.Errorf("%s: the machine must have no copy: %v", field, err)
	}
}
