package translate

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"pgregory.net/rapid"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/api/labels"
)

// drawPeer returns a peer of a tenant's rule.
func drawPeer(t *rapid.T) networkingv1.NetworkPolicyPeer {
	selectors := []*metav1.LabelSelector{
		nil, {}, {MatchLabels: map[string]string{"app": "web"}}, {MatchLabels: map[string]string{labels.Cluster: "other"}},
		{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: labels.Release, Operator: metav1.LabelSelectorOpDoesNotExist}}},
	}
	if rapid.Bool().Draw(t, "block") {
		cidr := rapid.SampledFrom([]string{
			"0.0.0.0/0", "10.0.0.0/8", "10.244.1.7/32", "8.0.0.0/6", "169.254.169.254/32", "128.0.0.0/1", "203.0.113.0/24", "::/0", "fd00::/8",
		}).Draw(t, "cidr")
		return networkingv1.NetworkPolicyPeer{IPBlock: &networkingv1.IPBlock{CIDR: cidr}}
	}
	peer := networkingv1.NetworkPolicyPeer{
		PodSelector: rapid.SampledFrom(selectors).Draw(t, "pods"), NamespaceSelector: rapid.SampledFrom(selectors).Draw(t, "namespaces"),
	}
	if peer.PodSelector == nil && peer.NamespaceSelector == nil {
		peer.PodSelector = &metav1.LabelSelector{}
	}
	return peer
}

func drawPorts(t *rapid.T) []networkingv1.NetworkPolicyPort {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) networkingv1.NetworkPolicyPort {
		return networkingv1.NetworkPolicyPort{Port: rapid.SampledFrom([]*intstr.IntOrString{
			nil, new(intstr.FromInt32(8080)), new(intstr.FromInt32(53)), new(intstr.FromString("http")),
		}).Draw(t, "port")}
	}), 0, 2).Draw(t, "ports")
}

// TestNetworkPolicyOpensNothing checks that no policy of a tenant opens pods of others, or
// addresses that the operator excludes.
func TestNetworkPolicyOpensNothing(t *testing.T) {
	t.Parallel()
	cluster := Cluster{UID: "uid", Name: "shop", Namespace: "tenant"}
	in := PolicyInput{
		Cluster: cluster, Workload: v1alpha1.Default().Policies.NetworkPolicy.Workload,
		KubernetesServiceIP: "10.96.0.20", DNSServiceIP: "10.96.0.21",
		Namespaces: []corev1.Namespace{{ObjectMeta: metav1.ObjectMeta{Name: "a", Labels: map[string]string{"app": "web"}}}},
		Services: []corev1.Service{{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeNodePort, Selector: map[string]string{"app": "web"}, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}},
		}}},
	}
	rapid.Check(t, func(t *rapid.T) {
		virtual := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "p"}}
		for range rapid.IntRange(0, 2).Draw(t, "rules") {
			peers := rapid.SliceOfN(rapid.Custom(drawPeer), 0, 3).Draw(t, "peers")
			virtual.Spec.Ingress = append(virtual.Spec.Ingress, networkingv1.NetworkPolicyIngressRule{From: peers, Ports: drawPorts(t)})
			virtual.Spec.Egress = append(virtual.Spec.Egress, networkingv1.NetworkPolicyEgressRule{To: peers, Ports: drawPorts(t)})
		}
		spec, err := NetworkPolicy(in, virtual)
		if err != nil {
			t.Fatal(err)
		}
		checkOwn(t, cluster, &spec.PodSelector)
		for _, rule := range spec.Egress {
			if len(rule.To) == 0 {
				t.Fatalf("a rule opens all: %v", rule)
			}
			for _, peer := range rule.To {
				checkOutside(t, cluster, peer)
			}
		}
		for _, rule := range spec.Ingress {
			if isOutside(rule.From) {
				for _, port := range rule.Ports {
					if port.Port == nil || port.Port.IntVal != 8080 && port.Port.StrVal == "" {
						t.Fatalf("port %v is open to addresses outside, and no Service exposes it", port)
					}
				}
				if len(rule.Ports) == 0 {
					t.Fatal("every port is open to addresses outside")
				}
				continue
			}
			for _, peer := range rule.From {
				checkOwn(t, cluster, peer.PodSelector)
			}
		}
	})
}

func isOutside(peers []networkingv1.NetworkPolicyPeer) bool {
	return len(peers) == 0 || peers[0].IPBlock != nil
}

// checkOutside checks that a peer of an egress rule is a pod of the cluster, the control
// plane, or an address that the operator opens.
func checkOutside(t *rapid.T, cluster Cluster, peer networkingv1.NetworkPolicyPeer) {
	if peer.IPBlock == nil {
		if !slices.ContainsFunc(controlPlanePeers(cluster), func(own networkingv1.NetworkPolicyPeer) bool { return cmp.Equal(peer, own) }) {
			checkOwn(t, cluster, peer.PodSelector)
		}
		return
	}
	if prefix := netip.MustParsePrefix(peer.IPBlock.CIDR); !prefix.Addr().Is4() {
		t.Fatalf("%s is open", prefix)
	}
	for _, closed := range []string{"10.0.0.1", "10.244.1.7", "100.64.0.1", "127.0.0.1", "169.254.169.254", "172.16.0.1", "192.168.1.1"} {
		if blockContains(peer.IPBlock, closed) {
			t.Fatalf("%v opens %s", peer.IPBlock, closed)
		}
	}
	for _, except := range peer.IPBlock.Except {
		inner, outer := netip.MustParsePrefix(except), netip.MustParsePrefix(peer.IPBlock.CIDR)
		if !outer.Contains(inner.Addr()) || inner.Bits() <= outer.Bits() {
			t.Fatalf("the API server refuses %s as a part of %s", except, peer.IPBlock.CIDR)
		}
	}
}

// TestNetworkPolicyStaysSmall checks that a copy is not the product of the blocks and the ports of its original.
func TestNetworkPolicyStaysSmall(t *testing.T) {
	t.Parallel()
	const many = 300
	var ports []networkingv1.NetworkPolicyPort
	var peers []networkingv1.NetworkPolicyPeer
	for i := range many {
		ports = append(ports, networkingv1.NetworkPolicyPort{Port: new(intstr.FromString(fmt.Sprintf("p%d", i)))})
		peers = append(peers, networkingv1.NetworkPolicyPeer{IPBlock: &networkingv1.IPBlock{CIDR: fmt.Sprintf("1.0.%d.%d/32", i/256, i%256)}})
	}
	in := PolicyInput{
		Cluster: Cluster{UID: "uid"}, Workload: v1alpha1.Default().Policies.NetworkPolicy.Workload,
		Services: []corev1.Service{{Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeNodePort, Selector: map[string]string{"app": "web"}, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}},
		}}},
	}
	spec, err := NetworkPolicy(in, &networkingv1.NetworkPolicy{Spec: networkingv1.NetworkPolicySpec{
		Egress:  []networkingv1.NetworkPolicyEgressRule{{To: peers, Ports: ports}},
		Ingress: []networkingv1.NetworkPolicyIngressRule{{From: peers, Ports: ports}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	for _, rule := range spec.Egress {
		total += len(rule.To) + len(rule.Ports)
	}
	for _, rule := range spec.Ingress {
		total += len(rule.From) + len(rule.Ports)
	}
	if total < 2*many || total > 10*many {
		t.Errorf("the copy has %d peers and ports, want about %d", total, 4*many)
	}

	// Each rule may have all ports of exposed Services.
	in.Services[0].Spec.Ports = nil
	for i := range int32(many) {
		in.Services[0].Spec.Ports = append(in.Services[0].Spec.Ports, corev1.ServicePort{Port: i + 1})
	}
	spec, err = NetworkPolicy(in, &networkingv1.NetworkPolicy{Spec: networkingv1.NetworkPolicySpec{Ingress: make([]networkingv1.NetworkPolicyIngressRule, many)}})
	if _, ok := errors.AsType[*UnsupportedError](err); !ok {
		t.Errorf("the copy of %d rules for %d ports is built: %v", many, many, err)
	}
	if len(spec.Ingress) != many {
		t.Errorf("the copy without exposed ports has %d rules, want the one for pods of each original", len(spec.Ingress))
	}
}

// checkOwn checks that a selector matches only pods of the cluster.
func checkOwn(t *rapid.T, cluster Cluster, selector *metav1.LabelSelector) {
	if selector == nil || selector.MatchLabels[labels.Cluster] != cluster.UID {
		t.Fatalf("%v is not limited to the cluster", selector)
	}
}

func TestIntersectPorts(t *testing.T) {
	t.Parallel()
	number := func(first, last int32) networkingv1.NetworkPolicyPort {
		port := newPort(corev1.ProtocolTCP, first)
		if last > first {
			port.EndPort = &last
		}
		return port
	}
	name := func(name string) networkingv1.NetworkPolicyPort {
		return networkingv1.NetworkPolicyPort{Port: new(intstr.FromString(name))}
	}
	type list = []networkingv1.NetworkPolicyPort
	for _, c := range []struct {
		reason      string
		tenant, own list
		want        list
		some        bool
	}{
		{"all ports", nil, nil, nil, true},
		{"the tenant limits them", list{number(80, 80)}, nil, list{number(80, 80)}, true},
		{"the operator limits them", nil, list{number(80, 80)}, list{number(80, 80)}, true},
		{"a range and a part of it", list{number(8000, 9000)}, list{number(8080, 8080), number(8900, 9100)}, list{number(8080, 8080), number(8900, 9000)}, true},
		{"nothing in common", list{number(80, 80)}, list{number(443, 443)}, nil, false},
		{"other protocols", list{newPort(corev1.ProtocolUDP, 53)}, list{number(53, 53)}, nil, false},
		{"equal names", list{name("http")}, list{name("http")}, list{name("http")}, true},
		{"other names", list{name("http")}, list{name("admin")}, nil, false},
		{"a name may be any number", list{name("http")}, list{number(80, 80)}, list{name("http")}, true},
		{"a number may have any name", list{number(80, 80)}, list{name("http")}, list{number(80, 80)}, true},
		{"every port of a protocol", list{{}}, list{number(80, 80)}, list{number(80, 80)}, true},
	} {
		got, some := intersectPorts(c.tenant, c.own, true)
		if some != c.some {
			t.Errorf("%s: some %v", c.reason, some)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.reason, diff)
		}
	}
}

// TestNamedPortsOfOthers checks that a tenant opens no port of the host's pods by another name than the
// operator's.
func TestNamedPortsOfOthers(t *testing.T) {
	t.Parallel()
	number, name := networkingv1.NetworkPolicyPort{Port: new(intstr.FromInt32(9090))}, networkingv1.NetworkPolicyPort{Port: new(intstr.FromString("admin"))}
	for _, c := range []struct {
		tenant, own networkingv1.NetworkPolicyPort
		opens       bool
	}{{name, number, false}, {number, name, false}, {number, number, true}, {name, name, true}} {
		metrics := networkingv1.NetworkPolicyEgressRule{
			To:    []networkingv1.NetworkPolicyPeer{{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"team": "metrics"}}}},
			Ports: []networkingv1.NetworkPolicyPort{c.own},
		}
		in := PolicyInput{Cluster: Cluster{UID: "uid"}, Workload: v1alpha1.WorkloadNetwork{Egress: []networkingv1.NetworkPolicyEgressRule{metrics}}}
		spec, _ := NetworkPolicy(in, &networkingv1.NetworkPolicy{Spec: networkingv1.NetworkPolicySpec{
			Egress: []networkingv1.NetworkPolicyEgressRule{{Ports: []networkingv1.NetworkPolicyPort{c.tenant}}},
		}})
		opens := slices.ContainsFunc(spec.Egress, func(rule networkingv1.NetworkPolicyEgressRule) bool { return cmp.Equal(rule.To, metrics.To) })
		if opens != c.opens {
			t.Errorf("the tenant's port %s, the operator's %s: opens pods of others: %t", c.tenant.Port, c.own.Port, opens)
		}
	}
}

func TestIsolationBy(t *testing.T) {
	t.Parallel()
	policy := func(app string, types ...networkingv1.PolicyType) *networkingv1.NetworkPolicy {
		return &networkingv1.NetworkPolicy{Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}, PolicyTypes: types,
		}}
	}
	for _, c := range []struct {
		reason string
		policy *networkingv1.NetworkPolicy
		want   Isolation
	}{
		{"another pod", policy("db", "Ingress"), Isolation{}},
		{"one direction", policy("web", "Ingress"), Isolation{Ingress: true}},
		{"both", policy("web", "Ingress", "Egress"), Isolation{Ingress: true, Egress: true}},
	} {
		if got := IsolationBy(c.policy, map[string]string{"app": "web"}); got != c.want {
			t.Errorf("%s: got %+v", c.reason, got)
		}
	}
}

func TestNarrowPolicy(t *testing.T) {
	t.Parallel()
	ingress := func(port int32) networkingv1.NetworkPolicyIngressRule {
		return networkingv1.NetworkPolicyIngressRule{Ports: []networkingv1.NetworkPolicyPort{{Port: new(intstr.FromInt32(port))}}}
	}
	egress := func(cidr string) networkingv1.NetworkPolicyEgressRule {
		return networkingv1.NetworkPolicyEgressRule{To: []networkingv1.NetworkPolicyPeer{{IPBlock: &networkingv1.IPBlock{CIDR: cidr}}}}
	}
	policy := func(in []networkingv1.NetworkPolicyIngressRule, out []networkingv1.NetworkPolicyEgressRule) *networkingv1.NetworkPolicy {
		return &networkingv1.NetworkPolicy{Spec: networkingv1.NetworkPolicySpec{
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress}, Ingress: in, Egress: out,
		}}
	}
	host := policy([]networkingv1.NetworkPolicyIngressRule{ingress(80), ingress(81)}, []networkingv1.NetworkPolicyEgressRule{egress("0.0.0.0/0")})
	wanted := policy([]networkingv1.NetworkPolicyIngressRule{ingress(82), ingress(81)}, []networkingv1.NetworkPolicyEgressRule{egress("192.0.2.0/24")})
	NarrowPolicy(host, wanted)
	want := policy([]networkingv1.NetworkPolicyIngressRule{ingress(81)}, []networkingv1.NetworkPolicyEgressRule{})
	if diff := cmp.Diff(want, host); diff != "" {
		t.Errorf("narrowed policy (-want +got):\n%s", diff)
	}
}
