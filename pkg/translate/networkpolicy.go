package translate

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apilabels "k8s.io/apimachinery/pkg/labels"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/api/release"
)

// PolicyInput is what the host copy of a NetworkPolicy depends on, in addition to the
// policy itself.
type PolicyInput struct {
	// Cluster is the identity of the virtual cluster.
	Cluster Cluster
	// Workload are the operator's settings of the tenant's network.
	Workload v1alpha1.WorkloadNetwork
	// KubernetesServiceIP and DNSServiceIP are the addresses of the virtual API and DNS.
	KubernetesServiceIP, DNSServiceIP string
	// Namespaces are the virtual namespaces with their labels. They are read only if
	// [SelectsNamespaces] returns true.
	Namespaces []corev1.Namespace
	// Services are those of the policy's namespace.
	Services []corev1.Service
}

// NetworkPolicy returns the spec of the host copy of a NetworkPolicy. NetworkPolicies are
// additive, so a copy must not allow what the release's own policies deny. Pod peers are
// limited to the pods of this virtual cluster. IP blocks are limited to the addresses that the
// operator allows. A rule without peers allows both. If the ports of exposed Services are too many, it returns the
// spec without them, and an [UnsupportedError].
func NetworkPolicy(in PolicyInput, virtual *networkingv1.NetworkPolicy) (networkingv1.NetworkPolicySpec, error) {
	p := policyTranslation{PolicyInput: in, virtual: virtual}
	p.exposed = p.exposedPorts()
	var unsupported error
	if ports := len(virtual.Spec.Ingress) * len(p.exposed); ports > maxExposed {
		unsupported = &UnsupportedError{[]error{fmt.Errorf(
			"spec.ingress: %d rules, each with the %d ports of exposed Services of its pods, are too many; use fewer rules", len(virtual.Spec.Ingress), len(p.exposed))}}
		p.exposed = nil
	}
	spec := networkingv1.NetworkPolicySpec{
		PodSelector: *toHostSelector(in.Cluster, []string{virtual.Namespace}, &virtual.Spec.PodSelector),
		PolicyTypes: slices.Clone(virtual.Spec.PolicyTypes),
	}
	for _, rule := range virtual.Spec.Ingress {
		spec.Ingress = append(spec.Ingress, p.toHostIngress(rule)...)
	}
	for _, rule := range virtual.Spec.Egress {
		spec.Egress = append(spec.Egress, p.toHostEgress(rule)...)
	}
	return spec, unsupported
}

// maxExposed limits the ports of exposed Services in a copy. Each ingress rule may have all of them.
const maxExposed = 50000

// SelectsNamespaces reports whether a NetworkPolicy selects namespaces by their labels.
func SelectsNamespaces(virtual *networkingv1.NetworkPolicy) bool {
	some := func(peer networkingv1.NetworkPolicyPeer) bool {
		return SelectsSome(peer.NamespaceSelector)
	}
	return slices.ContainsFunc(virtual.Spec.Ingress, func(r networkingv1.NetworkPolicyIngressRule) bool { return slices.ContainsFunc(r.From, some) }) ||
		slices.ContainsFunc(virtual.Spec.Egress, func(r networkingv1.NetworkPolicyEgressRule) bool { return slices.ContainsFunc(r.To, some) })
}

// Isolation has the directions in which NetworkPolicies of the tenant isolate a pod.
type Isolation struct {
	Ingress, Egress bool
}

// IsolationBy returns the directions in which a NetworkPolicy isolates a pod with labels.
func IsolationBy(virtual *networkingv1.NetworkPolicy, labels map[string]string) Isolation {
	selector, err := metav1.LabelSelectorAsSelector(&virtual.Spec.PodSelector)
	if err != nil || !selector.Matches(apilabels.Set(labels)) {
		return Isolation{} // The virtual API server has validated the selector.
	}
	return Isolation{
		Ingress: slices.Contains(virtual.Spec.PolicyTypes, networkingv1.PolicyTypeIngress),
		Egress:  slices.Contains(virtual.Spec.PolicyTypes, networkingv1.PolicyTypeEgress),
	}
}

// policyTranslation translates one policy.
type policyTranslation struct {
	PolicyInput
	virtual *networkingv1.NetworkPolicy
	exposed []networkingv1.NetworkPolicyPort // ports of exposed Services on the pods of the policy
}

// toHostIngress returns the host rules for an ingress rule.
func (p policyTranslation) toHostIngress(rule networkingv1.NetworkPolicyIngressRule) []networkingv1.NetworkPolicyIngressRule {
	var rules []networkingv1.NetworkPolicyIngressRule
	allow := func(from []networkingv1.NetworkPolicyPeer, ports []networkingv1.NetworkPolicyPort) {
		rules = append(rules, networkingv1.NetworkPolicyIngressRule{From: from, Ports: ports})
	}
	if peers := p.podPeers(rule.From); len(peers) > 0 {
		allow(peers, rule.Ports)
	}
	blocks := ipBlocksOf(rule.From)
	if len(blocks) == 0 {
		return rules
	}
	for _, operator := range p.Workload.Ingress {
		if peers, ports, ok := intersectRules(blocks, operator.From, rule.Ports, operator.Ports, keepTenantPort); ok {
			allow(peers, ports)
		}
	}
	if len(p.exposed) > 0 {
		if peers, ports, ok := intersectRules(blocks, nil, rule.Ports, p.exposed, keepTenantPort); ok {
			allow(peers, ports)
		}
	}
	return rules
}

// toHostEgress returns the host rules for an egress rule.
func (p policyTranslation) toHostEgress(rule networkingv1.NetworkPolicyEgressRule) []networkingv1.NetworkPolicyEgressRule {
	var rules []networkingv1.NetworkPolicyEgressRule
	allow := func(to []networkingv1.NetworkPolicyPeer, ports []networkingv1.NetworkPolicyPort) {
		rules = append(rules, networkingv1.NetworkPolicyEgressRule{To: to, Ports: ports})
	}
	if peers := p.podPeers(rule.To); len(peers) > 0 {
		allow(peers, rule.Ports)
	}
	if ports := p.controlPlanePorts(rule); len(ports) > 0 {
		allow(controlPlanePeers(p.Cluster), ports)
	}
	allowed := p.Workload.Egress
	if public := p.Workload.PublicEgress; public.Enabled {
		block := public.Block()
		allowed = append([]networkingv1.NetworkPolicyEgressRule{{To: blockPeer(&block)}}, allowed...)
	}
	blocks := ipBlocksOf(rule.To)
	if len(blocks) == 0 {
		return rules
	}
	for _, operator := range allowed {
		if peers, ports, ok := intersectRules(blocks, operator.To, rule.Ports, operator.Ports, dropPort); ok {
			allow(peers, ports)
		}
	}
	return rules
}

// podPeers returns the host peers for the pod peers of a rule. A rule without peers allows all
// pods of this virtual cluster.
func (p policyTranslation) podPeers(peers []networkingv1.NetworkPolicyPeer) []networkingv1.NetworkPolicyPeer {
	if len(peers) == 0 {
		return []networkingv1.NetworkPolicyPeer{{PodSelector: toHostSelector(p.Cluster, nil, &metav1.LabelSelector{})}}
	}
	var host []networkingv1.NetworkPolicyPeer
	for _, peer := range peers {
		if peer.IPBlock != nil {
			continue
		}
		selector := peer.PodSelector
		if selector == nil {
			selector = &metav1.LabelSelector{}
		}
		host = append(host, networkingv1.NetworkPolicyPeer{PodSelector: toHostSelector(p.Cluster, p.namespacesOf(peer), selector)})
	}
	return host
}

// namespacesOf returns the virtual namespaces of a peer, nil for all.
func (p policyTranslation) namespacesOf(peer networkingv1.NetworkPolicyPeer) []string {
	switch {
	case peer.NamespaceSelector == nil:
		return []string{p.virtual.Namespace}
	case selectsEverything(peer.NamespaceSelector):
		return nil
	}
	found := []string{}
	selector, err := metav1.LabelSelectorAsSelector(peer.NamespaceSelector)
	if err != nil {
		return found // The virtual API server has validated the selector.
	}
	for i := range p.Namespaces {
		if selector.Matches(apilabels.Set(p.Namespaces[i].Labels)) {
			found = append(found, p.Namespaces[i].Name)
		}
	}
	return found
}

// exposedPorts returns the ports that exposed Services open on pods of the policy.
func (p policyTranslation) exposedPorts() []networkingv1.NetworkPolicyPort {
	selector, err := metav1.LabelSelectorAsSelector(&p.virtual.Spec.PodSelector)
	if err != nil {
		return nil // The virtual API server has validated the selector.
	}
	var ports []networkingv1.NetworkPolicyPort
	for i := range p.Services {
		if IsExposed(&p.Services[i]) && mayOverlap(selector, p.Services[i].Spec.Selector) {
			ports = append(ports, targetPorts(&p.Services[i])...)
		}
	}
	return ports
}

// mayOverlap reports whether a pod can match both a selector and the selector of a
// Service.
func mayOverlap(selector apilabels.Selector, service map[string]string) bool {
	requirements, selectable := selector.Requirements()
	return selectable && !slices.ContainsFunc(requirements, func(r apilabels.Requirement) bool {
		_, ok := service[r.Key()]
		return ok && !r.Matches(apilabels.Set(service))
	})
}

// controlPlanePeers returns the peers for the pods of the control plane and of its DNS. Not every
// release has pods of its own for DNS.
func controlPlanePeers(c Cluster) []networkingv1.NetworkPolicyPeer {
	own := release.Release{Name: c.Name}
	return []networkingv1.NetworkPolicyPeer{
		{PodSelector: &metav1.LabelSelector{MatchLabels: own.ControlPlaneSelector()}},
		{PodSelector: &metav1.LabelSelector{MatchLabels: own.DNSSelector()}},
	}
}

// controlPlanePorts returns the ports of the control plane that an egress rule allows. The API
// and DNS of a virtual cluster run in host pods that no selector of a tenant can match. A rule
// allows DNS if it would match the pods of kube-dns in another cluster. It also allows API or
// DNS if it covers the address of their Service.
func (p policyTranslation) controlPlanePorts(rule networkingv1.NetworkPolicyEgressRule) []networkingv1.NetworkPolicyPort {
	allowsAll := len(rule.To) == 0
	api, dns := allowsAll, allowsAll
	for _, peer := range rule.To {
		if peer.IPBlock != nil {
			api = api || blockContains(peer.IPBlock, p.KubernetesServiceIP)
			dns = dns || blockContains(peer.IPBlock, p.DNSServiceIP)
			continue
		}
		dns = dns || p.matchesDNS(peer)
	}
	var ports []networkingv1.NetworkPolicyPort
	// The numbers are those of the Service and those that the pods usually have.
	if api && allowsPort(rule.Ports, corev1.ProtocolTCP, "https", 443, 6443, 8443) {
		ports = append(ports, newPort(corev1.ProtocolTCP, release.APIPort))
	}
	if dns && allowsPort(rule.Ports, corev1.ProtocolUDP, "dns", 53, 1053) {
		ports = append(ports, newPort(corev1.ProtocolUDP, release.DNSPort))
	}
	if dns && allowsPort(rule.Ports, corev1.ProtocolTCP, "dns-tcp", 53, 1053) {
		ports = append(ports, newPort(corev1.ProtocolTCP, release.DNSPort))
	}
	return ports
}

// matchesDNS reports whether a peer would match the pods of kube-dns that other clusters have.
func (p policyTranslation) matchesDNS(peer networkingv1.NetworkPolicyPeer) bool {
	namespaces := p.namespacesOf(peer)
	if namespaces != nil && !slices.Contains(namespaces, metav1.NamespaceSystem) {
		return false
	}
	if peer.PodSelector == nil {
		return true
	}
	selector, err := metav1.LabelSelectorAsSelector(peer.PodSelector)
	return err == nil && selector.Matches(apilabels.Set{"k8s-app": "kube-dns"})
}

// blockContains reports whether a block of addresses contains an address.
func blockContains(block *networkingv1.IPBlock, address string) bool {
	parsed, err := netip.ParseAddr(address)
	return err == nil && prefixContains(block.CIDR, parsed) &&
		!slices.ContainsFunc(block.Except, func(cidr string) bool { return prefixContains(cidr, parsed) })
}

func prefixContains(cidr string, address netip.Addr) bool {
	prefix, err := netip.ParsePrefix(cidr)
	return err == nil && prefix.Contains(address)
}

// NarrowPolicy removes the rules from a host NetworkPolicy that the wanted policy does not have. A policy
// without rules denies everything, as do the release's own ones to a pod that lacks its policy.
func NarrowPolicy(host, wanted *networkingv1.NetworkPolicy) {
	host.Spec.Ingress = keepRules(host.Spec.Ingress, wanted.Spec.Ingress)
	host.Spec.Egress = keepRules(host.Spec.Egress, wanted.Spec.Egress)
}

// keepRules returns the rules that are wanted. It looks each one up by its text: a tenant may have many thousands.
func keepRules[T any](rules, wanted []T) []T {
	text := func(rule T) string {
		data, _ := json.Marshal(rule) //nolint:errchkjson // A rule has only texts and numbers.
		return string(data)
	}
	isWanted := make(map[string]bool, len(wanted))
	for _, rule := range wanted {
		isWanted[text(rule)] = true
	}
	return slices.DeleteFunc(slices.Clone(rules), func(rule T) bool { return !isWanted[text(rule)] })
}
