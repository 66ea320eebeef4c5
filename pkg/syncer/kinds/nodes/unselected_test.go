package nodes

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/syncer"
)

// TestHideOnUnselectedNode starts with settings that hide more than before. A node has left the
// selection, so the host's object is not at hand.
func TestHideOnUnselectedNode(t *testing.T) {
	t.Parallel()
	host := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "node-1", Annotations: map[string]string{"example.com/rack": "7", "example.com/row": "2"}},
		Status: corev1.NodeStatus{
			Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.0.0.1"}, {Type: corev1.NodeExternalIP, Address: "203.0.113.7"}},
			Images:    []corev1.ContainerImage{{Names: []string{"nginx:1"}}},
		},
	}
	virtual := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-1", Annotations: map[string]string{
		"example.com/own": "yes", "example.com/row": "of the tenant",
	}}}
	shown := Options{Nodes: v1alpha1.Nodes{Annotations: []string{"example.com/*"}, ShowFields: []v1alpha1.ShownField{v1alpha1.ShowExternalAddresses}}}
	if err := fillReal(syncer.Scope{}, shown, host, virtual); err != nil {
		t.Fatal(err)
	}
	hidden := Options{Nodes: v1alpha1.Nodes{ClearImageStatus: true}}
	for range 2 {
		if err := hidden.markUnselected(virtual); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string]string{"example.com/own": "yes", "example.com/row": "of the tenant", labels.LastApplied: virtual.Annotations[labels.LastApplied]}
	if diff := cmp.Diff(want, virtual.Annotations); diff != "" {
		t.Errorf("annotations (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(corev1.NodeStatus{Addresses: host.Status.Addresses[:1]}, virtual.Status); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]corev1.Taint{unselectedTaint()}, virtual.Spec.Taints); diff != "" {
		t.Errorf("taints (-want +got):\n%s", diff)
	}
}
