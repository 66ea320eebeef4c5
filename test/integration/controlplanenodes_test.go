package integration

import (
	"context"
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
)

// TestControlPlaneNodesAreHidden taints a host node as one of the control plane. It is hidden
// unless a pod of the tenant runs there.
func TestControlPlaneNodesAreHidden(t *testing.T) {
	l := newLandlord(t, false, false, 1)
	l.open(t, l.virtual.memory()).synced(t)
	name := l.names[0]
	l.node(t, l.virtual, name)

	mustChange(t, l.host, name, addTaint("node-role.kubernetes.io/control-plane"))
	l.awaitHidden(t, name)

	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: l.namespace, Name: "web", Labels: map[string]string{labels.Cluster: l.cluster.UID}},
		Spec: corev1.PodSpec{
			NodeName: name, AutomountServiceAccountToken: new(false),
			Containers: []corev1.Container{{Name: "web", Image: "nginx"}},
		},
	}
	eventually(t, "a host pod on the node", func(ctx context.Context) error {
		// The namespace gets its service account late.
		return client.IgnoreAlreadyExists(l.host.client.Create(ctx, pod))
	})
	l.node(t, l.virtual, name)
	if err := l.host.client.Delete(t.Context(), pod, client.GracePeriodSeconds(0)); err != nil {
		t.Fatal(err)
	}
	l.awaitHidden(t, name)

	mustChange(t, l.host, name, func(n *corev1.Node) { n.Spec.Taints = nil })
	l.node(t, l.virtual, name)
}

// awaitHidden waits until the tenant does not see a node.
func (l *landlord) awaitHidden(t *testing.T, name string) {
	t.Helper()
	eventually(t, "node "+name+" is hidden", func(ctx context.Context) error {
		err := l.virtual.client.Get(ctx, client.ObjectKey{Name: name}, &corev1.Node{})
		if err == nil {
			return errors.New("it is shown")
		}
		return client.IgnoreNotFound(err)
	})
}
