package admission

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// TestBindings checks that the metadata of a binding is judged like an update of the pod, which is never
// stored.
func TestBindings(t *testing.T) {
	t.Parallel()
	pods, bindings := corev1.SchemeGroupVersion.WithResource("pods"), corev1.SchemeGroupVersion.WithResource("bindings")
	newBinding := func(labels, annotations map[string]string) *corev1.Binding {
		return &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", Labels: labels, Annotations: annotations}}
	}
	refused := apierrors.NewForbidden(corev1.Resource("pods"), "web", nil)
	mirror := map[string]string{corev1.MirrorPodAnnotationKey: "x"}
	for _, c := range []struct {
		reason      string
		resource    schema.GroupVersionResource
		subresource string
		object      runtime.Object
		answer      error
		patch       string // empty for no request
		isWanted    func(error) bool
	}{
		{"no metadata", pods, "binding", newBinding(nil, nil), refused, "", isNil},
		{"a pod", pods, "", &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Annotations: mirror}}, refused, "", isNil},
		{"metadata that a pod may have", pods, "binding", newBinding(map[string]string{"a": "b"}, nil), nil,
			`{"metadata":{"labels":{"a":"b"}}}`, isNil},
		{"a mirror pod", pods, "binding", newBinding(nil, mirror), refused,
			`{"metadata":{"annotations":{"kubernetes.io/config.mirror":"x"}}}`, apierrors.IsForbidden},
		{"the old form", bindings, "", newBinding(nil, mirror), refused,
			`{"metadata":{"annotations":{"kubernetes.io/config.mirror":"x"}}}`, apierrors.IsForbidden},
		{"no such pod", pods, "binding", newBinding(nil, mirror), apierrors.NewNotFound(corev1.Resource("pods"), "web"),
			`{"metadata":{"annotations":{"kubernetes.io/config.mirror":"x"}}}`, isNil},
	} {
		client, patch := fake.NewClientset(), ""
		client.PrependReactor("patch", "pods", func(action clienttesting.Action) (bool, runtime.Object, error) {
			sent, ok := action.(clienttesting.PatchActionImpl)
			if !ok || len(sent.PatchOptions.DryRun) != 1 {
				t.Errorf("%s: %v is no dry run", c.reason, action)
			}
			patch = string(sent.Patch)
			return true, &corev1.Pod{}, c.answer
		})
		checks := Checks{}
		AddBindingChecks(checks, func() (kubernetes.Interface, error) { return client, nil })
		a := admission.NewAttributesRecord(c.object, nil, schema.GroupVersionKind{Kind: "Binding"}, "shop", "web",
			c.resource, c.subresource, admission.Create, nil, false, nil)
		if err := Policy(PolicyOptions{Checks: checks}).Validate(t.Context(), a, nil); !c.isWanted(err) {
			t.Errorf("%s: got %v", c.reason, err)
		}
		if patch != c.patch {
			t.Errorf("%s: the patch %q, want %q", c.reason, patch, c.patch)
		}
	}
}
