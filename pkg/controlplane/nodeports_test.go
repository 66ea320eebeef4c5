package controlplane

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestHostNodePortsAndFamilies creates Services with what a host may assign: node ports outside
// of upstream's range, and addresses of two families.
func TestHostNodePortsAndFamilies(t *testing.T) {
	t.Parallel()
	p := startPlane(t, Config{NodePortRange: "20000-40000", ServiceCIDR: "10.0.0.0/24,fd00:10::/112"})
	create := func(name string, spec corev1.ServiceSpec) (*corev1.Service, error) {
		spec.Ports[0].Port = 80
		return p.client.CoreV1().Services("default").Create(t.Context(),
			&corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec}, metav1.CreateOptions{})
	}
	port := func(port int32) corev1.ServiceSpec {
		return corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Ports: []corev1.ServicePort{{NodePort: port}}}
	}
	if _, err := create("low", port(20000)); err != nil {
		t.Errorf("the least port of the host: %v", err)
	}
	if _, err := create("high", port(40000)); err != nil {
		t.Errorf("the greatest port of the host: %v", err)
	}
	if _, err := create("outside", port(40001)); !apierrors.IsInvalid(err) {
		t.Errorf("a port that the host does not have: %v", err)
	}
	dual := corev1.IPFamilyPolicyRequireDualStack
	service, err := create("dual", corev1.ServiceSpec{IPFamilyPolicy: &dual, Ports: []corev1.ServicePort{{}}})
	if err != nil || len(service.Spec.ClusterIPs) != 2 {
		t.Errorf("a Service of both families: %v, %v", service.Spec.ClusterIPs, err)
	}
	single, err := create("single", corev1.ServiceSpec{Ports: []corev1.ServicePort{{}}})
	if err != nil || len(single.Spec.ClusterIPs) != 1 || single.Spec.IPFamilies[0] != corev1.IPv4Protocol {
		t.Errorf("by default a Service has one address of the first family: %v, %v", single.Spec.ClusterIPs, err)
	}
}
