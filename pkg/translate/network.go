package translate

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/sublet-dev/sublet/api/labels"
)

// ExposedRole is the role that names the NetworkPolicy of an exposed Service, see [Derived].
const ExposedRole = "exposed"

// IsExposed reports whether a Service makes its pods reachable from outside the cluster. A
// Service without a selector has no pods.
func IsExposed(virtual *corev1.Service) bool {
	return ShouldCopyService(virtual) && len(virtual.Spec.Selector) > 0 && HasNodePorts(virtual.Spec.Type)
}

// ExposedPolicy returns the NetworkPolicy that opens the ports of an exposed Service to all
// addresses. Its traffic comes from nodes, load balancers or clients, whose addresses are not
// known. It does not select pods that a NetworkPolicy of the tenant isolates.
func ExposedPolicy(c Cluster, virtual *corev1.Service) networkingv1.NetworkPolicySpec {
	selector := &metav1.LabelSelector{
		MatchLabels:      ServiceSelector(c, virtual.Namespace, virtual.Spec.Selector),
		MatchExpressions: []metav1.LabelSelectorRequirement{{Key: labels.IsolatedIngress, Operator: metav1.LabelSelectorOpDoesNotExist}},
	}
	return networkingv1.NetworkPolicySpec{
		PodSelector: *selector,
		PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
		Ingress:     []networkingv1.NetworkPolicyIngressRule{{Ports: targetPorts(virtual)}},
	}
}

// targetPorts returns the target ports of a Service.
func targetPorts(virtual *corev1.Service) []networkingv1.NetworkPolicyPort {
	var ports []networkingv1.NetworkPolicyPort
	known := map[portKey]bool{}
	for _, port := range virtual.Spec.Ports {
		target := port.TargetPort
		if target == (intstr.IntOrString{}) {
			target = intstr.FromInt32(port.Port)
		}
		protocol := port.Protocol
		if protocol == "" {
			protocol = corev1.ProtocolTCP
		}
		opened := networkingv1.NetworkPolicyPort{Protocol: &protocol, Port: &target}
		if key := newPortKey(opened); !known[key] {
			known[key] = true
			ports = append(ports, opened)
		}
	}
	return ports
}
