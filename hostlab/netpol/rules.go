package netpol

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

// table is the name of the table in nftables.
const table = "netpol"

// State is what the rules are made of.
type State struct {
	// Pods are the pods of the node.
	Pods []*corev1.Pod
	// Namespaces and Policies are those of the whole cluster.
	Namespaces []*corev1.Namespace
	Policies   []*networkingv1.NetworkPolicy
	// Admitted are addresses of the node, whose connections no policy stops.
	Admitted []string
}

// Rules returns a script for nft that replaces the table. A connection passes if the
// egress rules of its source and the ingress rules of its destination allow it.
func Rules(s State) string {
	b := newBuilder(s)
	egress := b.chains("egress", networkingv1.PolicyTypeEgress)
	ingress := b.chains("ingress", networkingv1.PolicyTypeIngress)
	var out strings.Builder
	fmt.Fprintf(&out, "add table ip %[1]s\ndelete table ip %[1]s\ntable ip %[1]s {\n", table)
	for _, text := range slices.Concat(egress.chains, ingress.chains) {
		out.WriteString(text)
	}
	out.WriteString(baseChain("forward", s.Admitted, b.selfPairs(), egress.dispatch("saddr"), ingress.dispatch("daddr")))
	// What goes to the node itself: its API server, kubelet and DNS.
	out.WriteString(baseChain("input", nil, "", egress.dispatch("saddr"), ""))
	out.WriteString("}\n")
	return out.String()
}

// baseChain returns a chain that a hook of the kernel enters.
func baseChain(hook string, admitted []string, further ...string) string {
	lines := []string{
		fmt.Sprintf("type filter hook %s priority 10; policy accept;", hook),
		"ct state established,related accept",
	}
	if len(admitted) > 0 {
		lines = append(lines, "ip saddr "+set(admitted)+" accept")
	}
	return chain(hook, append(lines, further...))
}

// chain returns the text of a chain. It skips empty lines.
func chain(name string, lines []string) string {
	var out strings.Builder
	fmt.Fprintf(&out, "  chain %s {\n", name)
	for _, line := range lines {
		if line != "" {
			fmt.Fprintf(&out, "    %s\n", line)
		}
	}
	out.WriteString("  }\n")
	return out.String()
}

// set returns an anonymous set.
func set(elements []string) string {
	return "{ " + strings.Join(elements, ", ") + " }"
}

// direction has the chains of one direction, and which pod enters which.
type direction struct {
	chains  []string
	entries []string // elements of a map: an address and its chain
}

// dispatch returns the rule that sends packets to the chains by an address.
func (d direction) dispatch(address string) string {
	if len(d.entries) == 0 {
		return ""
	}
	return fmt.Sprintf("ip %s vmap %s", address, set(d.entries))
}

// chains returns a chain for each set of pods with the same rules. Pods that no policy
// selects have none.
func (b *builder) chains(prefix string, policyType networkingv1.PolicyType) direction {
	var d direction
	names := map[string]string{} // lines -> name of the chain
	for _, p := range b.pods {
		lines, isolated := b.linesOf(p, policyType)
		if !isolated {
			continue
		}
		text := strings.Join(lines, "\n")
		name, ok := names[text]
		if !ok {
			name = fmt.Sprintf("%s-%d", prefix, len(names))
			names[text] = name
			d.chains = append(d.chains, chain(name, append(lines, "drop")))
		}
		d.entries = append(d.entries, fmt.Sprintf("%s : jump %s", p.Status.PodIP, name))
	}
	return d
}

// linesOf returns the rules that let packets of a pod pass, and whether any policy selects
// the pod for this direction.
func (b *builder) linesOf(p *corev1.Pod, policyType networkingv1.PolicyType) (lines []string, isolated bool) {
	for _, policy := range b.state.Policies {
		if policy.Namespace != p.Namespace || !slices.Contains(policy.Spec.PolicyTypes, policyType) || !selects(&policy.Spec.PodSelector, p.Labels) {
			continue
		}
		isolated = true
		if policyType == networkingv1.PolicyTypeIngress {
			for _, rule := range policy.Spec.Ingress {
				lines = append(lines, cross(b.peers(policy.Namespace, rule.From, "saddr"), b.ingressPorts(p, rule.Ports))...)
			}
			continue
		}
		for _, rule := range policy.Spec.Egress {
			lines = append(lines, cross(b.peers(policy.Namespace, rule.To, "daddr"), b.egressPorts(rule.Ports))...)
		}
	}
	return lines, isolated
}

// cross returns a rule for each pair of a peer and a port.
func cross(peers, ports []string) []string {
	var lines []string
	for _, peer := range peers {
		for _, port := range ports {
			lines = append(lines, strings.Join(strings.Fields(peer+" "+port+" return"), " "))
		}
	}
	return lines
}
