package netpol

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apilabels "k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// builder builds the rules of a state.
type builder struct {
	state      State
	pods       []*corev1.Pod                // with an address, sorted by it
	namespaces map[string]map[string]string // name -> labels
}

func newBuilder(s State) *builder {
	b := &builder{state: s, namespaces: map[string]map[string]string{}}
	for _, namespace := range s.Namespaces {
		b.namespaces[namespace.Name] = namespace.Labels
	}
	taken := map[string]bool{}
	for _, p := range s.Pods {
		address, err := netip.ParseAddr(p.Status.PodIP)
		finished := p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
		if err != nil || !address.Is4() || p.Spec.HostNetwork || finished || taken[p.Status.PodIP] {
			continue
		}
		taken[p.Status.PodIP] = true
		b.pods = append(b.pods, p)
	}
	slices.SortFunc(b.pods, func(a, b *corev1.Pod) int { return cmp.Compare(a.Status.PodIP, b.Status.PodIP) })
	slices.SortFunc(b.state.Policies, func(a, b *networkingv1.NetworkPolicy) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return b
}

// selfPairs returns the rule that lets each pod reach itself by way of a Service.
func (b *builder) selfPairs() string {
	var pairs []string
	for _, p := range b.pods {
		pairs = append(pairs, p.Status.PodIP+" . "+p.Status.PodIP)
	}
	if len(pairs) == 0 {
		return ""
	}
	return "ip saddr . ip daddr " + set(pairs) + " accept"
}

// peers returns what matches the peers of a rule, one element for each. A rule without peers
// gets one empty element, which matches every address. A peer without any pod gets no element.
func (b *builder) peers(namespace string, peers []networkingv1.NetworkPolicyPeer, address string) []string {
	if len(peers) == 0 {
		return []string{""}
	}
	var matches []string
	for _, peer := range peers {
		switch {
		case peer.IPBlock != nil:
			matches = append(matches, blockMatch(peer.IPBlock, address))
		default:
			if found := b.addresses(namespace, peer); len(found) > 0 {
				matches = append(matches, fmt.Sprintf("ip %s %s", address, set(found)))
			}
		}
	}
	return slices.DeleteFunc(matches, func(match string) bool { return match == "" })
}

// blockMatch returns what matches a block of addresses, empty for one of IPv6.
func blockMatch(block *networkingv1.IPBlock, address string) string {
	if prefix, err := netip.ParsePrefix(block.CIDR); err != nil || !prefix.Addr().Is4() {
		return ""
	}
	var except []string
	for _, cidr := range block.Except {
		except = append(except, fmt.Sprintf("ip %s != %s", address, cidr))
	}
	return strings.Join(append([]string{fmt.Sprintf("ip %s %s", address, block.CIDR)}, except...), " ")
}

// addresses returns the addresses of the pods that a peer selects.
func (b *builder) addresses(namespace string, peer networkingv1.NetworkPolicyPeer) []string {
	var found []string
	for _, p := range b.pods {
		inNamespace := p.Namespace == namespace
		if peer.NamespaceSelector != nil {
			inNamespace = selects(peer.NamespaceSelector, b.namespaces[p.Namespace])
		}
		if inNamespace && (peer.PodSelector == nil || selects(peer.PodSelector, p.Labels)) {
			found = append(found, p.Status.PodIP)
		}
	}
	return found
}

// selects reports whether a selector matches labels. The API server has checked it.
func selects(selector *metav1.LabelSelector, labels map[string]string) bool {
	parsed, err := metav1.LabelSelectorAsSelector(selector)
	return err == nil && parsed.Matches(apilabels.Set(labels))
}

// ingressPorts returns what matches the ports of a rule at a pod. Named ports are those of
// the pod.
func (b *builder) ingressPorts(p *corev1.Pod, ports []networkingv1.NetworkPolicyPort) []string {
	return portMatches(ports, func(protocol, name string) []string {
		var matches []string
		for _, number := range namedPorts(p, protocol, name) {
			matches = append(matches, fmt.Sprintf("%s dport %d", protocol, number))
		}
		return matches
	})
}

// egressPorts returns what matches the ports of a rule at any pod.
func (b *builder) egressPorts(ports []networkingv1.NetworkPolicyPort) []string {
	return portMatches(ports, func(protocol, name string) []string {
		var pairs []string
		for _, p := range b.pods {
			for _, number := range namedPorts(p, protocol, name) {
				pairs = append(pairs, fmt.Sprintf("%s . %d", p.Status.PodIP, number))
			}
		}
		if len(pairs) == 0 {
			return nil
		}
		return []string{fmt.Sprintf("ip daddr . %s dport %s", protocol, set(pairs))}
	})
}

// portMatches returns what matches ports, one element for each. Without ports, it returns one
// empty element, which matches every packet. resolve returns what matches a named port.
func portMatches(ports []networkingv1.NetworkPolicyPort, resolve func(protocol, name string) []string) []string {
	if len(ports) == 0 {
		return []string{""}
	}
	var matches []string
	for _, port := range ports {
		protocol := "tcp"
		if port.Protocol != nil {
			protocol = strings.ToLower(string(*port.Protocol))
		}
		switch {
		case port.Port == nil:
			matches = append(matches, "ip protocol "+protocol)
		case port.Port.Type == intstr.String:
			matches = append(matches, resolve(protocol, port.Port.StrVal)...)
		case port.EndPort != nil:
			matches = append(matches, fmt.Sprintf("%s dport %d-%d", protocol, port.Port.IntVal, *port.EndPort))
		default:
			matches = append(matches, fmt.Sprintf("%s dport %d", protocol, port.Port.IntVal))
		}
	}
	return matches
}

// namedPorts returns the numbers of the ports of a pod with a name.
func namedPorts(p *corev1.Pod, protocol, name string) []int32 {
	var numbers []int32
	for _, container := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
		for _, port := range container.Ports {
			if port.Name == name && strings.EqualFold(string(port.Protocol), protocol) && !slices.Contains(numbers, port.ContainerPort) {
				numbers = append(numbers, port.ContainerPort)
			}
		}
	}
	return numbers
}
