package policy_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/policy"
)

func TestEvaluateNetworkPolicy(t *testing.T) {
	t.Parallel()
	block := func(cidr string) []networkingv1.NetworkPolicyPeer {
		return []networkingv1.NetworkPolicyPeer{{IPBlock: &networkingv1.IPBlock{CIDR: cidr}}}
	}
	workload := v1alpha1.Default().Policies.NetworkPolicy.Workload
	database := workload
	database.Ingress = []networkingv1.NetworkPolicyIngressRule{{From: block("203.0.113.0/28")}}
	database.Egress = []networkingv1.NetworkPolicyEgressRule{{To: block("10.1.2.0/24")}}
	for _, c := range []struct {
		reason   string
		workload v1alpha1.WorkloadNetwork
		egress   string
		ingress  string
		want     string
	}{
		{"the internet is open", workload, "0.0.0.0/0", "", ""},
		{"a part of the internet", workload, "203.0.113.0/24", "", ""},
		{
			"private addresses are not", workload, "10.0.0.0/8", "",
			`spec.egress[0].to[0].ipBlock: "10.0.0.0/8": is closed to this virtual cluster, apart from its own API and DNS. ` +
				"The operator of the host can change this with policies.networkPolicy.workload.publicEgress.",
		},
		{
			"nor is IPv6", workload, "::/0", "",
			`spec.egress[0].to[0].ipBlock: "::/0": is closed to this virtual cluster, apart from its own API and DNS. ` +
				"The operator of the host can change this with policies.networkPolicy.workload.publicEgress.",
		},
		{"the operator opens some", database, "10.1.0.0/16", "", ""},
		{"the operator lets some in", database, "", "203.0.113.0/24", ""},
		{
			"addresses outside reach what is exposed", workload, "", "203.0.113.0/24",
			`spec.ingress[0].from[0].ipBlock: "203.0.113.0/24": opens only the ports of Services of the types NodePort and LoadBalancer. ` +
				"The operator of the host can change this with policies.networkPolicy.workload.ingress.",
		},
	} {
		spec := &networkingv1.NetworkPolicySpec{}
		if c.egress != "" {
			spec.Egress = []networkingv1.NetworkPolicyEgressRule{{To: block(c.egress)}}
		}
		if c.ingress != "" {
			spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{From: block(c.ingress)}}
		}
		if diff := cmp.Diff(c.want, policy.Message(policy.EvaluateNetworkPolicy(c.workload, spec))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.reason, diff)
		}
	}
}
