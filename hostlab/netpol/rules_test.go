package netpol

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// pod returns a running pod of namespace a with an address and a label. Its port http is
// 8080.
func pod(namespace, ip, app string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: app, Labels: map[string]string{"app": app}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080, Protocol: corev1.ProtocolTCP}},
		}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: ip},
	}
}

func app(name string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}
}

func policy(spec networkingv1.NetworkPolicySpec) *networkingv1.NetworkPolicy {
	return &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "p"}, Spec: spec}
}

func ports(all ...intstr.IntOrString) []networkingv1.NetworkPolicyPort {
	var ports []networkingv1.NetworkPolicyPort
	for _, port := range all {
		ports = append(ports, networkingv1.NetworkPolicyPort{Protocol: new(corev1.ProtocolTCP), Port: &port})
	}
	return ports
}

// TestLines checks the rules of pod web, which has the address 10.244.0.5.
func TestLines(t *testing.T) {
	t.Parallel()
	const in, out = networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress
	only := func(types ...networkingv1.PolicyType) []networkingv1.PolicyType { return types }
	for _, c := range []struct {
		reason    string
		spec      networkingv1.NetworkPolicySpec
		direction networkingv1.PolicyType
		isolated  bool
		want      []string
	}{
		{"a policy for another pod", networkingv1.NetworkPolicySpec{PodSelector: *app("db"), PolicyTypes: only(in)}, in, false, nil},
		{"a policy for the other direction", networkingv1.NetworkPolicySpec{PolicyTypes: only(out)}, in, false, nil},
		{"no rule allows nothing", networkingv1.NetworkPolicySpec{PolicyTypes: only(in)}, in, true, nil},
		{
			"an empty rule allows all", networkingv1.NetworkPolicySpec{
				PodSelector: *app("web"), PolicyTypes: only(in), Ingress: []networkingv1.NetworkPolicyIngressRule{{}},
			}, in, true, []string{"return"},
		},
		{
			"pods of the own namespace, at a named port and a number", networkingv1.NetworkPolicySpec{
				PolicyTypes: only(in), Ingress: []networkingv1.NetworkPolicyIngressRule{{
					From:  []networkingv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{}}},
					Ports: ports(intstr.FromString("http"), intstr.FromInt32(9090)),
				}},
			}, in, true, []string{
				"ip saddr { 10.244.0.5, 10.244.0.6 } tcp dport 8080 return", "ip saddr { 10.244.0.5, 10.244.0.6 } tcp dport 9090 return",
			},
		},
		{
			"pods of other namespaces", networkingv1.NetworkPolicySpec{
				PolicyTypes: only(out), Egress: []networkingv1.NetworkPolicyEgressRule{{
					To:    []networkingv1.NetworkPolicyPeer{{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"team": "b"}}}},
					Ports: ports(intstr.FromString("http")),
				}},
			}, out, true, []string{"ip daddr { 10.244.0.7 } ip daddr . tcp dport { 10.244.0.5 . 8080, 10.244.0.6 . 8080, 10.244.0.7 . 8080 } return"},
		},
		{
			"peers without a pod allow nothing", networkingv1.NetworkPolicySpec{
				PolicyTypes: only(out), Egress: []networkingv1.NetworkPolicyEgressRule{{To: []networkingv1.NetworkPolicyPeer{{PodSelector: app("none")}}}},
			}, out, true, nil,
		},
		{
			"a block with exceptions, and one of IPv6", networkingv1.NetworkPolicySpec{
				PolicyTypes: only(out), Egress: []networkingv1.NetworkPolicyEgressRule{{To: []networkingv1.NetworkPolicyPeer{
					{IPBlock: &networkingv1.IPBlock{CIDR: "0.0.0.0/0", Except: []string{"10.0.0.0/8", "169.254.0.0/16"}}},
					{IPBlock: &networkingv1.IPBlock{CIDR: "::/0"}},
				}}},
			}, out, true, []string{"ip daddr 0.0.0.0/0 ip daddr != 10.0.0.0/8 ip daddr != 169.254.0.0/16 return"},
		},
	} {
		b := newBuilder(State{
			Pods: []*corev1.Pod{pod("a", "10.244.0.6", "db"), pod("a", "10.244.0.5", "web"), pod("b", "10.244.0.7", "web")},
			Namespaces: []*corev1.Namespace{
				{ObjectMeta: metav1.ObjectMeta{Name: "a"}}, {ObjectMeta: metav1.ObjectMeta{Name: "b", Labels: map[string]string{"team": "b"}}},
			},
			Policies: []*networkingv1.NetworkPolicy{policy(c.spec)},
		})
		got, isolated := b.linesOf(b.pods[0], c.direction)
		if isolated != c.isolated {
			t.Errorf("%s: isolated %v", c.reason, isolated)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.reason, diff)
		}
	}
}

func TestRules(t *testing.T) {
	t.Parallel()
	finished := pod("a", "10.244.0.9", "job")
	finished.Status.Phase = corev1.PodSucceeded
	got := Rules(State{
		Pods:     []*corev1.Pod{pod("a", "10.244.0.5", "web"), pod("a", "10.244.0.6", "web"), pod("b", "10.244.0.7", "db"), finished},
		Policies: []*networkingv1.NetworkPolicy{policy(networkingv1.NetworkPolicySpec{PolicyTypes: []networkingv1.PolicyType{"Ingress", "Egress"}})},
		Admitted: []string{"10.99.0.1"},
	})
	want := `add table ip netpol
delete table ip netpol
table ip netpol {
  chain egress-0 {
    drop
  }
  chain ingress-0 {
    drop
  }
  chain forward {
    type filter hook forward priority 10; policy accept;
    ct state established,related accept
    ip saddr { 10.99.0.1 } accept
    ip saddr . ip daddr { 10.244.0.5 . 10.244.0.5, 10.244.0.6 . 10.244.0.6, 10.244.0.7 . 10.244.0.7 } accept
    ip saddr vmap { 10.244.0.5 : jump egress-0, 10.244.0.6 : jump egress-0 }
    ip daddr vmap { 10.244.0.5 : jump ingress-0, 10.244.0.6 : jump ingress-0 }
  }
  chain input {
    type filter hook input priority 10; policy accept;
    ct state established,related accept
    ip saddr vmap { 10.244.0.5 : jump egress-0, 10.244.0.6 : jump egress-0 }
  }
}
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
