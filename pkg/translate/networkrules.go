package translate

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// ipBlocksOf returns the IP blocks among the peers of a rule. For a rule without peers, which
// allows all addresses, it returns a single nil block.
func ipBlocksOf(peers []networkingv1.NetworkPolicyPeer) []*networkingv1.IPBlock {
	if len(peers) == 0 {
		return []*networkingv1.IPBlock{nil}
	}
	var blocks []*networkingv1.IPBlock
	for _, peer := range peers {
		if peer.IPBlock != nil {
			blocks = append(blocks, peer.IPBlock)
		}
	}
	return blocks
}

// blockPeer returns the peers for an IP block. A nil block, which is all addresses, needs none.
func blockPeer(block *networkingv1.IPBlock) []networkingv1.NetworkPolicyPeer {
	if block == nil {
		return nil
	}
	return []networkingv1.NetworkPolicyPeer{{IPBlock: block}}
}

// intersectRules returns what a rule of the tenant and one of the operator have in common. ok is false if that is nothing. All
// blocks are in one list of peers, as one rule per block would repeat the ports.
func intersectRules(
	blocks []*networkingv1.IPBlock, operatorPeers []networkingv1.NetworkPolicyPeer, tenantPorts, operatorPorts []networkingv1.NetworkPolicyPort, mixed mixedPorts,
) (peers []networkingv1.NetworkPolicyPeer, ports []networkingv1.NetworkPolicyPort, ok bool) {
	if ports, ok = intersectPorts(tenantPorts, operatorPorts, mixed); !ok {
		return nil, nil, false
	}
	for _, block := range blocks {
		peers = append(peers, intersectPeers(block, operatorPeers)...)
	}
	hasAll := slices.Contains(blocks, nil) && len(operatorPeers) == 0
	return peers, ports, len(peers) > 0 || hasAll
}

// intersectPeers returns the part of the operator's peers that the tenant's IP block covers. A
// nil block covers all of them. The addresses of pods are not known here, so a block never
// covers a selector.
func intersectPeers(block *networkingv1.IPBlock, operator []networkingv1.NetworkPolicyPeer) []networkingv1.NetworkPolicyPeer {
	if block == nil {
		return slices.Clone(operator)
	}
	if len(operator) == 0 {
		return blockPeer(block)
	}
	var peers []networkingv1.NetworkPolicyPeer
	for _, peer := range operator {
		if peer.IPBlock == nil {
			continue
		}
		if both, ok := IntersectBlocks(*block, *peer.IPBlock); ok {
			peers = append(peers, networkingv1.NetworkPolicyPeer{IPBlock: &both})
		}
	}
	return peers
}

// IntersectBlocks returns the addresses that are in both blocks, and false if there are none.
func IntersectBlocks(a, b networkingv1.IPBlock) (networkingv1.IPBlock, bool) {
	first, err := netip.ParsePrefix(a.CIDR)
	second, otherErr := netip.ParsePrefix(b.CIDR)
	if err != nil || otherErr != nil || !first.Overlaps(second) {
		return networkingv1.IPBlock{}, false
	}
	smaller := first.Masked()
	if second.Bits() > first.Bits() {
		smaller = second.Masked()
	}
	both := networkingv1.IPBlock{CIDR: smaller.String()}
	for _, cidr := range slices.Concat(a.Except, b.Except) {
		except, err := netip.ParsePrefix(cidr)
		switch {
		case err != nil || !except.Overlaps(smaller):
			continue
		case except.Bits() <= smaller.Bits():
			return networkingv1.IPBlock{}, false
		}
		both.Except = append(both.Except, except.Masked().String())
	}
	slices.Sort(both.Except)
	both.Except = slices.Compact(both.Except)
	return both, true
}

// mixedPorts decides about a named and a numbered port. Only the pod shows whether they are the
// same.
type mixedPorts bool

const (
	// keepTenantPort keeps the tenant's port. It is for ports of the tenant's own pods.
	keepTenantPort mixedPorts = true
	// dropPort keeps neither. It is for all other pods: the tenant could otherwise allow any
	// port that has a name.
	dropPort mixedPorts = false
)

// intersectPorts returns the ports that are in both lists. An empty list has all ports. ok is
// false if there are no common ports.
func intersectPorts(tenant, operator []networkingv1.NetworkPolicyPort, mixed mixedPorts) (ports []networkingv1.NetworkPolicyPort, ok bool) {
	if len(tenant) == 0 {
		return withProtocols(operator), true
	}
	if len(operator) == 0 {
		return tenant, true
	}
	var both []networkingv1.NetworkPolicyPort
	known := map[portKey]bool{}
	for _, a := range tenant {
		for _, b := range operator {
			port, ok := intersectPort(a, b, mixed)
			if key := newPortKey(port); ok && !known[key] {
				known[key] = true
				both = append(both, port)
			}
		}
	}
	return both, len(both) > 0
}

// withProtocols returns ports of the settings with the protocol that the API fills in, as the host has them in its copies.
func withProtocols(ports []networkingv1.NetworkPolicyPort) []networkingv1.NetworkPolicyPort {
	ports = slices.Clone(ports)
	for i := range ports {
		ports[i].Protocol = new(protocolOf(ports[i]))
	}
	return ports
}

// intersectPort returns the ports that two entries have in common. ok is false if there are none.
func intersectPort(tenant, operator networkingv1.NetworkPolicyPort, mixed mixedPorts) (port networkingv1.NetworkPolicyPort, ok bool) {
	switch {
	case protocolOf(tenant) != protocolOf(operator):
		return networkingv1.NetworkPolicyPort{}, false
	case operator.Port == nil:
		return tenant, true
	case tenant.Port == nil:
		return withProtocols([]networkingv1.NetworkPolicyPort{operator})[0], true
	case tenant.Port.Type != operator.Port.Type:
		return tenant, mixed == keepTenantPort
	case tenant.Port.Type == intstr.String:
		return tenant, tenant.Port.StrVal == operator.Port.StrVal
	}
	first, last := max(tenant.Port.IntVal, operator.Port.IntVal), min(lastPort(tenant), lastPort(operator))
	if first > last {
		return networkingv1.NetworkPolicyPort{}, false
	}
	port = newPort(protocolOf(tenant), first)
	if last > first {
		port.EndPort = &last
	}
	return port, true
}

// portKey is equal for entries that are the same.
type portKey struct {
	protocol corev1.Protocol
	hasPort  bool
	first    intstr.IntOrString
	last     int32
}

func newPortKey(p networkingv1.NetworkPolicyPort) portKey {
	if p.Port == nil {
		return portKey{protocol: protocolOf(p)}
	}
	return portKey{protocol: protocolOf(p), hasPort: true, first: *p.Port, last: lastPort(p)}
}

// allowsPort reports whether the ports of a rule contain a port, by its name or one of its
// numbers. An empty list contains all ports.
func allowsPort(ports []networkingv1.NetworkPolicyPort, protocol corev1.Protocol, name string, numbers ...int32) bool {
	return len(ports) == 0 || slices.ContainsFunc(ports, func(p networkingv1.NetworkPolicyPort) bool {
		switch {
		case protocolOf(p) != protocol:
			return false
		case p.Port == nil:
			return true
		case p.Port.Type == intstr.String:
			return p.Port.StrVal == name
		}
		return slices.ContainsFunc(numbers, func(number int32) bool { return number >= p.Port.IntVal && number <= lastPort(p) })
	})
}

// protocolOf returns the protocol of an entry. The default is TCP.
func protocolOf(p networkingv1.NetworkPolicyPort) corev1.Protocol {
	if p.Protocol == nil {
		return corev1.ProtocolTCP
	}
	return *p.Protocol
}

// lastPort returns the last port of a numbered entry.
func lastPort(p networkingv1.NetworkPolicyPort) int32 {
	if p.EndPort == nil {
		return p.Port.IntVal
	}
	return *p.EndPort
}

// newPort returns the entry of one port.
func newPort(protocol corev1.Protocol, number int32) networkingv1.NetworkPolicyPort {
	return networkingv1.NetworkPolicyPort{Protocol: &protocol, Port: new(intstr.FromInt32(number))}
}
