package policy

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestCopySizes checks that what makes a copy much larger than its original has a limit, in each place.
func TestCopySizes(t *testing.T) {
	t.Parallel()
	some := &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}
	peers := func(count int, selector *metav1.LabelSelector) []networkingv1.NetworkPolicyPeer {
		list := make([]networkingv1.NetworkPolicyPeer, count)
		for i := range list {
			list[i].NamespaceSelector = selector
		}
		return list
	}
	network := func(from, to []networkingv1.NetworkPolicyPeer) *networkingv1.NetworkPolicy {
		return &networkingv1.NetworkPolicy{Spec: networkingv1.NetworkPolicySpec{
			Ingress: []networkingv1.NetworkPolicyIngressRule{{From: from}}, Egress: []networkingv1.NetworkPolicyEgressRule{{To: to}},
		}}
	}
	for name, c := range map[string]struct {
		before, after *networkingv1.NetworkPolicy
		denied        bool
	}{
		"most":        {after: network(peers(60, some), peers(40, some))},
		"one more":    {after: network(peers(61, some), peers(40, some)), denied: true},
		"all":         {after: network(peers(5000, &metav1.LabelSelector{}), peers(5000, nil))},
		"left as is":  {before: network(peers(200, some), nil), after: network(nil, peers(200, some))},
		"rules":       {after: &networkingv1.NetworkPolicy{Spec: networkingv1.NetworkPolicySpec{Egress: make([]networkingv1.NetworkPolicyEgressRule, 1001)}}, denied: true},
		"peers":       {after: network(peers(5001, nil), peers(5000, nil)), denied: true},
		"even larger": {before: network(peers(200, some), nil), after: network(peers(201, some), nil), denied: true},
	} {
		if got := EvaluateNetworkPolicySize(c.before, c.after); (len(got) > 0) != c.denied {
			t.Errorf("%s: %v, want a denial: %t", name, got, c.denied)
		}
	}

	term := corev1.PodAffinityTerm{NamespaceSelector: some}
	required := make([]corev1.PodAffinityTerm, 51)
	preferred := make([]corev1.WeightedPodAffinityTerm, 50)
	for i := range required {
		required[i] = term
	}
	for i := range preferred {
		preferred[i].PodAffinityTerm = term
	}
	spec := &corev1.PodSpec{Affinity: &corev1.Affinity{
		PodAffinity:     &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: required},
		PodAntiAffinity: &corev1.PodAntiAffinity{PreferredDuringSchedulingIgnoredDuringExecution: preferred},
	}}
	if got := podSizes(nil, spec); len(got) != 1 || got[0].Field != "spec.affinity" {
		t.Errorf("101 terms of a pod: %v", got)
	}
	spec.Affinity.PodAffinity = nil
	if got := podSizes(nil, spec); len(got) > 0 {
		t.Errorf("50 terms of a pod: %v", got)
	}
	spec.Tolerations = make([]corev1.Toleration, 1001)
	if got := podSizes(nil, spec); len(got) != 1 || got[0].Field != "spec.tolerations" {
		t.Errorf("1001 tolerations: %v", got)
	}
}
