package translate

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// outsideOf returns the blocks of addresses among the peers of a rule. No peers are every
// address, which is one block that is nil.
func outsideOf(peers []networkingv1.NetworkPolicyPeer) []*networkingv1.IPBlock {
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

// blockPeer returns the peers of a rule about a block of addresses, none for every address.
func blockPeer(block *networkingv1.IPBlock) []networkingv1.NetworkPolicyPeer {
	if block == nil {
		return nil
	}
	return []networkingv1.NetworkPolicyPeer{{IPBlock: block}}
}

// intersectPeers returns the part of the operator's peers that a tenant's block of
// addresses covers. nil covers all of them. Addresses of pods are not known here, so a
// block covers no selector.
func intersectPeers(block *networkingv1.IPBlock, own []networkingv1.NetworkPolicyPeer) []networkingv1.NetworkPolicyPeer {
	if block == nil {
		return slices.Clone(own)
	}
	if len(own) == 0 {
		return blockPeer(block)
	}
	var peers []networkingv1.NetworkPolicyPeer
	for _, peer := range own {
		if peer.IPBlock == nil {
			continue
		}
		if both, ok := IntersectBlocks(*block, *peer.IPBlock); ok {
			peers = append(peers, networkingv1.NetworkPolicyPeer{IPBlock: &both})
		}
	}
	return peers
}

// IntersectBlocks returns the addresses that are in two blocks, false if there are none.
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

// intersectPorts returns the ports that are in both lists. An empty list has every port.
// The second result is false if there are none. A name and a number may be the same port,
// which is known at the pod alone. At the tenant's own pods the tenant's is taken. At others, neither
// is: a tenant would open any port that has a name.
func intersectPorts(tenant, own []networkingv1.NetworkPolicyPort, ownPods bool) ([]networkingv1.NetworkPolicyPort, bool) {
	if len(tenant) == 0 {
		return own, true
	}
	if len(own) == 0 {
		return tenant, true
	}
	var both []networkingv1.NetworkPolicyPort
	for _, a := range tenant {
		for _, b := range own {
			port, ok := intersectPort(a, b, ownPods)
			if ok && !slices.ContainsFunc(both, func(p networkingv1.NetworkPolicyPort) bool { return equalPort(p, port) }) {
				both = append(both, port)
			}
		}
	}
	return both, len(both) > 0
}

// intersectPort returns the ports that two entries have in common.
func intersectPort(tenant, own networkingv1.NetworkPolicyPort, ownPods bool) (networkingv1.NetworkPolicyPort, bool) {
	switch {
	case protocolOf(tenant) != protocolOf(own):
		return networkingv1.NetworkPolicyPort{}, false
	case own.Port == nil:
		return tenant, true
	case tenant.Port == nil:
		return own, true
	case tenant.Port.Type != own.Port.Type:
		return tenant, ownPods
	case tenant.Port.Type == intstr.String:
		return tenant, tenant.Port.StrVal == own.Port.StrVal
	}
	first, last := max(tenant.Port.IntVal, own.Port.IntVal), min(lastPort(tenant), lastPort(own))
	if first > last {
		return networkingv1.NetworkPolicyPort{}, false
	}
	port := newPort(protocolOf(tenant), first)
	if last > first {
		port.EndPort = &last
	}
	return port, true
}

// equalPort reports whether two entries are the same.
func equalPort(a, b networkingv1.NetworkPolicyPort) bool {
	if protocolOf(a) != protocolOf(b) || (a.Port == nil) != (b.Port == nil) {
		return false
	}
	return a.Port == nil || *a.Port == *b.Port && lastPort(a) == lastPort(b)
}

// opensPort reports whether the ports of a rule have a port by its name or by one of its
// numbers.
func opensPort(ports []networkingv1.NetworkPolicyPort, protocol corev1.Protocol, name string, numbers ...int32) bool {
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

// protocolOf returns the protocol of an entry, by default TCP.
func protocolOf(p networkingv1.NetworkPolicyPort) corev1.Protocol {
	if p.Protocol == nil {
		return corev1.ProtocolTCP
	}
	return *p.Protocol
}

// lastPort returns the last number of an entry with a number.
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
