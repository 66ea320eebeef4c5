package host

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/api/release"
)

// balanced returns the Service of type LoadBalancer with these addresses.
func balanced(addresses ...corev1.LoadBalancerIngress) *corev1.Service {
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "shop", Namespace: "tenant"}, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer}}
	service.Status.LoadBalancer.Ingress = addresses
	return service
}

// onNodes returns the Service of type NodePort, its StatefulSet, and pods on nodes with these IPs. Those that begin with
// a dash are not ready. An empty one has no node.
func onNodes(ips ...string) []runtime.Object {
	replicas := int32(len(ips))
	service := balanced()
	service.Spec.Type, service.Spec.Ports = corev1.ServiceTypeNodePort, []corev1.ServicePort{{Port: 443, NodePort: 30443}}
	objects := []runtime.Object{service, &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: "shop", Namespace: "tenant"}, Spec: appsv1.StatefulSetSpec{Replicas: &replicas},
	}}
	for ordinal, ip := range ips {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: release.Release{Name: "shop"}.Pod(ordinal), Namespace: "tenant"}}
		pod.Status.HostIP = strings.TrimPrefix(ip, "-")
		if !strings.HasPrefix(ip, "-") {
			pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		}
		objects = append(objects, pod)
	}
	return objects
}

// TestAddress looks for the address on a host, after another one was known.
func TestAddress(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		reason  string
		objects []runtime.Object
		before  string
		server  string
		names   []string
		problem string // part of the message of the check, empty if it is healthy
	}{
		{"a load balancer", []runtime.Object{balanced(corev1.LoadBalancerIngress{IP: "192.0.2.9"}, corev1.LoadBalancerIngress{IP: "192.0.2.7"})}, "", "https://192.0.2.9", []string{"192.0.2.7", "192.0.2.9"}, ""},
		{"a load balancer with a name", []runtime.Object{balanced(corev1.LoadBalancerIngress{Hostname: "lb.example.com"})}, "", "https://lb.example.com", []string{"lb.example.com"}, ""},
		{"IPv6", []runtime.Object{balanced(corev1.LoadBalancerIngress{IP: "2001:db8::7"})}, "", "https://[2001:db8::7]", []string{"2001:db8::7"}, ""},
		{"one without an address", []runtime.Object{balanced()}, "", "", nil, "no address yet"},
		{"an address that is lost stays", []runtime.Object{balanced()}, "https://192.0.2.9", "https://192.0.2.9", nil, "no address yet"},
		{"a node", onNodes("192.0.2.1"), "", "https://192.0.2.1:30443", []string{"192.0.2.1"}, ""},
		{"the first node that is ready", onNodes("-192.0.2.3", "192.0.2.2", "192.0.2.1"), "", "https://192.0.2.2:30443", []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"}, ""},
		{"the node of before", onNodes("192.0.2.3", "192.0.2.2", "192.0.2.2"), "https://192.0.2.2:30443", "https://192.0.2.2:30443", []string{"192.0.2.2", "192.0.2.3"}, ""},
		{"no node yet", onNodes("", "-192.0.2.2"), "", "", nil, "no replica is ready"},
		{"no Service", nil, "", "", nil, "cannot get host Service tenant/shop"},
	} {
		address := &Address{Client: fake.NewClientset(c.objects...), Release: release.Release{Name: "shop", Namespace: "tenant"}, Clock: clock.RealClock{}, server: c.before}
		calls := 0
		address.OnChange(func() { calls++ })
		atOnce := calls
		if known := address.poll(t.Context()); known != (c.problem == "") {
			t.Errorf("%s: it is known: %t", c.reason, known)
		}
		if address.Server() != c.server {
			t.Errorf("%s: it is %q, want %q", c.reason, address.Server(), c.server)
		}
		if diff := cmp.Diff(c.names, address.Names()); diff != "" {
			t.Errorf("%s: names (-want +got):\n%s", c.reason, diff)
		}
		first := calls
		address.poll(t.Context())
		if atOnce != min(1, len(c.before)) || first-atOnce != min(1, len(c.names)) || calls != first {
			t.Errorf("%s: called %d times at once, %d times at all", c.reason, atOnce, calls)
		}
		check := address.Checks()[0]
		if check.Healthy != (c.problem == "") || !strings.Contains(check.Message, c.problem) {
			t.Errorf("%s: the check is %+v", c.reason, check)
		}
	}
}
