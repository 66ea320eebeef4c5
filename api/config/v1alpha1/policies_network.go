package v1alpha1

import (
	"net/netip"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
)

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
	// Further ingress rules of the NetworkPolicy. By default the tenant's pods and pods of no tenant in the
	// namespace reach the API, and the latter the operator port. The API is open to all if
	// controlPlane.service.spec.type is not ClusterIP.
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
	// family, are closed. Set ::/0 on a host with IPv6 alone.
	// Default: 0.0.0.0/0
	CIDR string `json:"cidr" format:"cidr"`
	// Parts of cidr that stay closed: private and link-local addresses, and those of metadata services. Those of
	// IPv6 include what a translator turns into such of IPv4. Ranges outside of cidr have no effect. Add the public
	// addresses of nodes, of the host API and, with IPv6, of pods. vCluster's default has fewer, and none of IPv6.
	// Default: [0.0.0.0/8, 10.0.0.0/8, 100.64.0.0/10, 127.0.0.0/8, 168.63.129.16/32, 169.254.0.0/16, 172.16.0.0/12, 192.0.0.0/24, 192.168.0.0/16, 198.18.0.0/15, 224.0.0.0/3, "::/96", 64:ff9b:1::/48, 2002::/16, fc00::/7, fe80::/9, ff00::/8, 64:ff9b::a00:0/104, 64:ff9b::6440:0/106, 64:ff9b::7f00:0/104, 64:ff9b::a83f:8110/128, 64:ff9b::a9fe:0/112, 64:ff9b::ac10:0/108, 64:ff9b::c0a8:0/112]
	Except []string `json:"except" format:"cidr" unique:"true"`
}

// Block returns the addresses as an IPBlock. An API server accepts an exception only if it is a part of the range.
func (p PublicEgress) Block() networkingv1.IPBlock {
	block := networkingv1.IPBlock{CIDR: p.CIDR}
	for _, except := range p.Except {
		if isPartOf(except, p.CIDR) && !isPartOf(p.CIDR, except) {
			block.Except = append(block.Except, except)
		}
	}
	return block
}

// isPartOf reports whether all addresses of one IP range are in the other.
func isPartOf(inner, outer string) bool {
	small, err := netip.ParsePrefix(inner)
	large, otherErr := netip.ParsePrefix(outer)
	return err == nil && otherErr == nil && large.Bits() <= small.Bits() && large.Contains(small.Addr())
}

// networkCombinations returns the rules about the addresses outside of the host.
func networkCombinations() []Combination {
	const public = "policies.networkPolicy.workload.publicEgress."
	return []Combination{{
		Name: "public-egress-to-nothing", Path: public + "cidr", With: []string{public + "except"},
		Detail: "is a part of " + public + "except, so no address would be open; take that range out there, or set " + public + "enabled to false",
		Violated: func(c *Config) bool {
			p := c.Policies.NetworkPolicy.Workload.PublicEgress
			return p.Enabled && slices.ContainsFunc(p.Except, func(except string) bool { return isPartOf(p.CIDR, except) })
		},
	}}
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

// closedAddresses returns the IP ranges in which nodes, pods and metadata services usually are.
func closedAddresses() []string {
	inside := []string{"10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "168.63.129.16/32", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"}
	return slices.Concat(
		[]string{
			"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "168.63.129.16/32", "169.254.0.0/16",
			"172.16.0.0/12", "192.0.0.0/24", "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/3",
		},
		[]string{
			"::/96",          // loopback, unspecified, and an old form of addresses of IPv4
			"64:ff9b:1::/48", // translators to IPv4 with prefixes of their own
			"2002::/16",      // a tunnel to IPv4
			"fc00::/7",       // private addresses
			"fe80::/9",       // link-local and site-local addresses
			"ff00::/8",       // multicast
		},
		translated(inside))
}

// translated returns the ranges of IPv6 under which a translator (NAT64) reaches those of IPv4.
func translated(ranges []string) []string {
	wellKnown := netip.MustParseAddr("64:ff9b::").As16()
	found := make([]string, 0, len(ranges))
	for _, text := range ranges {
		prefix := netip.MustParsePrefix(text)
		four, six := prefix.Addr().As4(), wellKnown
		copy(six[12:], four[:])
		found = append(found, netip.PrefixFrom(netip.AddrFrom16(six), 96+prefix.Bits()).String())
	}
	return found
}
