package translate

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/sublet-dev/sublet/api/labels"
)

// HostEndpointsRole is the role that names the NetworkPolicy of endpoints of the host, see
// [Derived].
const HostEndpointsRole = "host-endpoints"

// HostEndpointsPolicy returns the NetworkPolicy that lets the tenant's pods reach endpoints of
// the host. It does not select pods that a NetworkPolicy of the tenant isolates.
func HostEndpointsPolicy(c Cluster, slice *discoveryv1.EndpointSlice) networkingv1.NetworkPolicySpec {
	spec := networkingv1.NetworkPolicySpec{
		PodSelector: metav1.LabelSelector{
			MatchLabels:      map[string]string{labels.Cluster: c.UID},
			MatchExpressions: []metav1.LabelSelectorRequirement{{Key: labels.IsolatedEgress, Operator: metav1.LabelSelectorOpDoesNotExist}},
		},
		PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeEgress},
	}
	var rule networkingv1.NetworkPolicyEgressRule
	for _, port := range slice.Ports {
		if port.Port == nil {
			continue
		}
		protocol := corev1.ProtocolTCP
		if port.Protocol != nil {
			protocol = *port.Protocol
		}
		rule.Ports = append(rule.Ports, networkingv1.NetworkPolicyPort{Protocol: &protocol, Port: new(intstr.FromInt32(*port.Port))})
	}
	for _, endpoint := range slice.Endpoints {
		for _, address := range ParseAddresses(endpoint.Addresses...) {
			block := netip.PrefixFrom(address, address.BitLen()).String()
			rule.To = append(rule.To, networkingv1.NetworkPolicyPeer{IPBlock: &networkingv1.IPBlock{CIDR: block}})
		}
	}
	// A rule without peers or ports would allow all of them.
	if len(rule.To) > 0 && len(rule.Ports) > 0 {
		spec.Egress = []networkingv1.NetworkPolicyEgressRule{rule}
	}
	return spec
}
