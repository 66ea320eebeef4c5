package v1alpha1

import networkingv1 "k8s.io/api/networking/v1"

// NetworkPolicy has the NetworkPolicies of a virtual cluster on the host. The network of
// the host enforces them, if it enforces any.
type NetworkPolicy struct {
	// NetworkPolicies in the host namespace, for the tenant's pods and for the control plane. They need a
	// network that enforces NetworkPolicies. Unlike in vCluster, on by default.
	// Default: true
	Enabled bool `json:"enabled"`
	// Control plane of the virtual cluster.
	ControlPlane ControlPlaneNetwork `json:"controlPlane"`
	// The tenant's pods.
	Workload WorkloadNetwork `json:"workload"`
}

// ControlPlaneNetwork has what may reach the control plane, and what it may reach, in
// addition to what it needs.
type ControlPlaneNetwork struct {
	// Further ingress rules of the NetworkPolicy. By default pods of the namespace reach the API and the
	// operator port. The API is open to all if controlPlane.service.spec.type is not ClusterIP.
	// Default: []
	Ingress []networkingv1.NetworkPolicyIngressRule `json:"ingress"`
	// Further egress rules of the NetworkPolicy. By default the control plane reaches the tenant's pods, DNS,
	// and the TCP ports 443, 6443, 8443 and 16443, at which API servers listen.
	// Default: []
	Egress []networkingv1.NetworkPolicyEgressRule `json:"egress"`
}

// WorkloadNetwork has what may reach the tenant's pods, and what they may reach, in
// addition to each other, the virtual API and DNS.
type WorkloadNetwork struct {
	// Addresses outside of the host cluster that the tenant's pods reach.
	PublicEgress PublicEgress `json:"publicEgress"`
	// Further ingress rules of the NetworkPolicy, such as one for the namespace of an ingress controller.
	// Ports of Services of the types NodePort and LoadBalancer are open to all.
	// Default: []
	Ingress []networkingv1.NetworkPolicyIngressRule `json:"ingress"`
	// Further egress rules of the NetworkPolicy.
	// Default: []
	Egress []networkingv1.NetworkPolicyEgressRule `json:"egress"`
}

// PublicEgress has the addresses outside of the host cluster that the tenant's pods reach.
type PublicEgress struct {
	// Let the tenant's pods reach addresses in cidr.
	// Default: true
	Enabled bool `json:"enabled"`
	// IP range that the tenant's pods reach. All other addresses of its IP family, and all of the other
	// family, are closed.
	// Default: 0.0.0.0/0
	CIDR string `json:"cidr" format:"cidr"`
	// Parts of cidr that stay closed: private and link-local addresses, and those of metadata services. The
	// last two are not in vCluster's default. Add the public addresses of nodes and of the host API.
	// Default: [0.0.0.0/8, 10.0.0.0/8, 100.64.0.0/10, 127.0.0.0/8, 168.63.129.16/32, 169.254.0.0/16, 172.16.0.0/12, 192.0.0.0/24, 192.168.0.0/16, 198.18.0.0/15, 224.0.0.0/3]
	Except []string `json:"except" format:"cidr" unique:"true"`
}

// defaultNetworkPolicy returns the network of a tenant that nobody trusts.
func defaultNetworkPolicy() NetworkPolicy {
	return NetworkPolicy{
		Enabled: true,
		ControlPlane: ControlPlaneNetwork{
			Ingress: []networkingv1.NetworkPolicyIngressRule{}, Egress: []networkingv1.NetworkPolicyEgressRule{},
		},
		Workload: WorkloadNetwork{
			PublicEgress: PublicEgress{Enabled: true, CIDR: "0.0.0.0/0", Except: closedAddresses()},
			Ingress:      []networkingv1.NetworkPolicyIngressRule{}, Egress: []networkingv1.NetworkPolicyEgressRule{},
		},
	}
}

// closedAddresses returns the IP ranges in which nodes, pods and metadata services
// usually are.
func closedAddresses() []string {
	return []string{
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "168.63.129.16/32", "169.254.0.0/16",
		"172.16.0.0/12", "192.0.0.0/24", "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/3",
	}
}
