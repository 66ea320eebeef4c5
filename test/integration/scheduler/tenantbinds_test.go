package scheduler

import (
	"net/http"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/api/labels"
)

// TestTenantBindsFirst lets a tenant bind a pod that the host does not know, and ends the
// server before the host does. The pod is the tenant's, and it runs.
func TestTenantBindsFirst(t *testing.T) {
	t.Parallel()
	host := newHost(t, 2)
	w := newWire(t, host)
	s := openVia(t, host, w, "binds-first", nil)
	asked := w.catch(request{method: http.MethodPost, resource: "pods"})
	pod := s.create(t, newPod("mine"))
	asked.await(t)
	binding := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: pod.Name}, Target: corev1.ObjectReference{Kind: "Node", Name: host.Nodes()[1]}}
	if err := s.client.CoreV1().Pods(pod.Namespace).Bind(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	s.server.Kill()
	w.clear()
	s.start(t.Context(), t)
	if now := s.running(t, pod.Name); now.UID != pod.UID || now.Spec.NodeName != host.Nodes()[1] || now.Annotations[labels.Bound] != "" {
		t.Errorf("another pod, or one that is on %s, marked %q", now.Spec.NodeName, now.Annotations[labels.Bound])
	}
}
