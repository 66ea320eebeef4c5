package policy

import (
	"fmt"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// networkPolicySetting is the path of the settings of the network of tenants' pods.
const networkPolicySetting = "policies.networkPolicy.workload"

// EvaluateNetworkPolicy returns the IP blocks of a tenant's NetworkPolicy that open less than
// their addresses, because the operator keeps some closed. They are no reason to deny the
// policy: what it forbids is enforced.
func EvaluateNetworkPolicy(workload v1alpha1.WorkloadNetwork, spec *networkingv1.NetworkPolicySpec) []Violation {
	var violations []Violation
	for i, rule := range spec.Egress {
		for j, peer := range rule.To {
			if peer.IPBlock == nil || opensEgress(workload, *peer.IPBlock) {
				continue
			}
			violations = append(violations, Violation{
				Field: fmt.Sprintf("spec.egress[%d].to[%d].ipBlock", i, j), Value: peer.IPBlock.CIDR,
				Detail:  "is closed to this virtual cluster, apart from its own API and DNS",
				Setting: networkPolicySetting + ".publicEgress",
			})
		}
	}
	for i, rule := range spec.Ingress {
		for j, peer := range rule.From {
			if peer.IPBlock == nil || opensIngress(workload, *peer.IPBlock) {
				continue
			}
			violations = append(violations, Violation{
				Field: fmt.Sprintf("spec.ingress[%d].from[%d].ipBlock", i, j), Value: peer.IPBlock.CIDR,
				Detail:  "opens only the ports of Services of the types NodePort and LoadBalancer",
				Setting: networkPolicySetting + ".ingress",
			})
		}
	}
	return violations
}

// opensEgress reports whether the operator opens any address of a block.
func opensEgress(workload v1alpha1.WorkloadNetwork, block networkingv1.IPBlock) bool {
	if public := workload.PublicEgress; public.Enabled {
		if _, ok := translate.IntersectBlocks(block, public.Block()); ok {
			return true
		}
	}
	return slices.ContainsFunc(workload.Egress, func(rule networkingv1.NetworkPolicyEgressRule) bool { return opensPeers(rule.To, block) })
}

// opensIngress reports whether the operator lets any address of a block in.
func opensIngress(workload v1alpha1.WorkloadNetwork, block networkingv1.IPBlock) bool {
	return slices.ContainsFunc(workload.Ingress, func(rule networkingv1.NetworkPolicyIngressRule) bool { return opensPeers(rule.From, block) })
}

// opensPeers reports whether peers of a rule of the operator have any address of a block. No
// peers are all addresses.
func opensPeers(peers []networkingv1.NetworkPolicyPeer, block networkingv1.IPBlock) bool {
	return len(peers) == 0 || slices.ContainsFunc(peers, func(peer networkingv1.NetworkPolicyPeer) bool {
		if peer.IPBlock == nil {
			return false
		}
		_, ok := translate.IntersectBlocks(block, *peer.IPBlock)
		return ok
	})
}
