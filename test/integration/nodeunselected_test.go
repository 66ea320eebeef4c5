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

// TestNodesOfPodsStayShown takes a node out of the selection of the tenant whose pod runs there.
// The node stays until the pod is gone, and nothing new is to get there.
func TestNodesOfPodsStayShown(t *testing.T) {
	l := newLandlord(t, true, false, 2)
	e := l.open(t, l.virtual.memory())
	e.synced(t)
	used, empty := l.names[0], l.names[1]
	l.node(t, l.virtual, used)
	l.node(t, l.virtual, empty)
	mustChange(t, l.virtual, used, setLabel("mine/kept", "yes"))
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: l.namespace, Name: "web", Labels: map[string]string{labels.Cluster: l.cluster.UID}},
		Spec: corev1.PodSpec{
			NodeName: used, AutomountServiceAccountToken: new(false),
			Containers: []corev1.Container{{Name: "web", Image: "nginx"}},
		},
	}
	eventually(t, "a host pod on the node", func(ctx context.Context) error {
		// The namespace gets its service account late.
		return client.IgnoreAlreadyExists(l.host.client.Create(ctx, pod))
	})

	for _, name := range l.names {
		mustChange(t, l.host, name, setLabel("pool", l.namespace+"-others"))
	}
	l.awaitHidden(t, empty)
	l.awaitUnselected(t, used, true)
	e.stop() // A server that starts has never seen the node in the selection.
	e = l.open(t, l.virtual.memory())
	e.synced(t)
	l.awaitUnselected(t, used, true)

	mustChange(t, l.host, used, setLabel("pool", l.namespace))
	l.awaitUnselected(t, used, false)
	if got := l.node(t, l.virtual, used); got.Labels["mine/kept"] != "yes" {
		t.Errorf("The tenant's label is gone: %v", got.Labels)
	}
	mustChange(t, l.host, used, setLabel("pool", l.namespace+"-others"))
	l.awaitUnselected(t, used, true)
	if err := l.host.client.Delete(t.Context(), pod, client.GracePeriodSeconds(0)); err != nil {
		t.Fatal(err)
	}
	l.awaitHidden(t, used)
	for _, name := range l.names {
		mustChange(t, l.host, name, setLabel("pool", l.namespace)) // The cleanup deletes them by it.
	}
}

// awaitUnselected waits until the tenant sees whether a node is in the selection.
func (l *landlord) awaitUnselected(t *testing.T, name string, unselected bool) {
	t.Helper()
	eventually(t, "node "+name+" shows whether it is selected", func(ctx context.Context) error {
		var node corev1.Node
		if err := l.virtual.client.Get(ctx, client.ObjectKey{Name: name}, &node); err != nil {
			return err
		}
		tainted := false
		for _, taint := range node.Spec.Taints {
			tainted = tainted || taint.Key == labels.NotSelected
		}
		if tainted != unselected {
			return errors.New("the taint is wrong")
		}
		return nil
	})
}
