package admission

import (
	"context"
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/api/labels"
)

// readShownNode returns worker-1, the copy of a host node, and forged, which is none.
func readShownNode(_ context.Context, name string) (*corev1.Node, error) {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	switch name {
	case "worker-1":
		node.Annotations = map[string]string{labels.HostUID: "host-uid"}
		return node, nil
	case "forged":
		return node, nil
	case "unread":
		return nil, errors.New("no leader")
	}
	return nil, apierrors.NewNotFound(corev1.Resource("nodes"), name)
}

// TestNodeNames checks which nodes a pod and a binding may name.
func TestNodeNames(t *testing.T) {
	t.Parallel()
	pod := func(node string) runtime.Object {
		return &corev1.Pod{Spec: corev1.PodSpec{NodeName: node}}
	}
	binding := func(node string) runtime.Object { return &corev1.Binding{Target: corev1.ObjectReference{Name: node}} }
	isDenied := apierrors.IsForbidden
	pods, bindings := corev1.SchemeGroupVersion.WithResource("pods"), corev1.SchemeGroupVersion.WithResource("bindings")
	texts := map[string]string{}
	for _, c := range []struct {
		reason      string
		resource    schema.GroupVersionResource
		subresource string
		operation   admission.Operation
		object      runtime.Object
		pseudo      bool
		isWanted    func(error) bool
	}{
		{"a pod without a node", pods, "", admission.Create, pod(""), false, isNil},
		{"a pod on a node that is shown", pods, "", admission.Create, pod("worker-1"), false, isNil},
		{"a pod on an unknown node", pods, "", admission.Create, pod("worker-9"), false, isDenied},
		{"a pod on a node that is no copy", pods, "", admission.Create, pod("forged"), false, isDenied},
		{"a pod while nodes cannot be read", pods, "", admission.Create, pod("unread"), false, apierrors.IsServiceUnavailable},
		{"an update of a pod whose node is gone", pods, "", admission.Update, pod("worker-9"), false, isNil},
		{"a status", pods, "status", admission.Update, pod("worker-9"), false, isNil},
		{"an eviction", pods, "eviction", admission.Create, nil, false, isNil},
		{"a delete", pods, "", admission.Delete, nil, false, isNil},
		{"a binding to a node that is shown", pods, "binding", admission.Create, binding("worker-1"), false, isNil},
		{"a binding to an unknown node", pods, "binding", admission.Create, binding("worker-9"), false, isDenied},
		{"a binding in its old form", bindings, "", admission.Create, binding("worker-9"), false, isDenied},
		{"pseudo nodes come after their pods", pods, "", admission.Create, pod("worker-9"), true, isNil},
	} {
		settings := v1alpha1.Default(v1alpha1.Kind{Setting: "sync.fromHost.nodes", Enabled: !c.pseudo})
		checks := Checks{}
		AddNodeNameChecks(checks, settings, readShownNode)
		a := admission.NewAttributesRecord(c.object, nil, schema.GroupVersionKind{Kind: "Pod"}, "shop", "web",
			c.resource, c.subresource, c.operation, nil, false, nil)
		err := Policy(PolicyOptions{Checks: checks}).Validate(t.Context(), a, nil)
		if !c.isWanted(err) {
			t.Errorf("%s: got %v", c.reason, err)
		}
		if err != nil {
			texts[c.reason] = err.Error()
		}
	}
	checkGolden(t, "node-names.txt", texts)
}
