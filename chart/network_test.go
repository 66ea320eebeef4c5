package chart_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"helm.sh/helm/v4/pkg/chart/common"
	appsv1 "k8s.io/api/apps/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apilabels "k8s.io/apimachinery/pkg/labels"
	"pgregory.net/rapid"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/api/release"
)

// peers returns pods of the release's namespace, by what they are.
func peers() map[string]apilabels.Set {
	own := map[string]string{"app.kubernetes.io/name": "sublet", "app.kubernetes.io/component": "control-plane"}
	controlPlane := func(release string) apilabels.Set {
		return apilabels.Merge(own, map[string]string{"app.kubernetes.io/instance": release})
	}
	return map[string]apilabels.Set{
		"tenant":              {labels.Release: "shop"},
		"isolated tenant":     {labels.Release: "shop", labels.IsolatedIngress: "true", labels.IsolatedEgress: "true"},
		"control plane":       controlPlane("shop"),
		"other tenant":        {labels.Release: "other"},
		"other control plane": controlPlane("other"),
		"DNS":                 release.Release{Name: "shop"}.DNSSelector(),
		"operator":            {"app": "prometheus"},
	}
}

// TestNetworkPolicies checks who reaches whom on which port under the rendered policies.
func TestNetworkPolicies(t *testing.T) {
	t.Parallel()
	ch := loadChart(t)
	const everybody = "DNS, control plane, operator, other control plane, other tenant, tenant"
	for _, c := range []struct {
		reason, values, to string
		port               int32
		want               string
	}{
		{"the tenant's pods, and tools of the operator", "", "control plane", 8443, "DNS, control plane, operator, other control plane, tenant"},
		{"an API that is exposed to all", "controlPlane: {service: {spec: {type: NodePort}}}", "control plane", 8443, everybody},
		{"DNS is the tenant's alone", "", "control plane", 1053, "tenant"},
		{"the operator port is no tenant's", "", "control plane", 8444, "DNS, operator, other control plane"},
		{"pods of their own answer DNS", dnsPods, "DNS", 1053, "tenant"},
		{"the control plane does not then", dnsPods, "control plane", 1053, ""},
		{"probes of DNS pods come from their node", dnsPods, "DNS", 8081, ""},
		{"DNS pods learn names", dnsPods, "control plane", 8443, "DNS, control plane, operator, other control plane, tenant"},
		{"nobody needs another port", "", "control plane", 2379, ""},
		{"pods of one tenant reach each other", "", "tenant", 8080, "control plane, tenant"},
		{"an ingress controller", "policies: {networkPolicy: {workload: {ingress: [{from: [{podSelector: {matchLabels: {app: prometheus}}}]}]}}}", "tenant", 8080, "control plane, operator, tenant"},
		{"who isolates a pod says who reaches it", "", "isolated tenant", 8080, "control plane"},
	} {
		policies := networkPolicies(mustRender(t, ch, c.values))
		var got []string
		for name, from := range peers() {
			if name != "isolated tenant" && mayReach(t, policies, from, peers()[c.to], c.port) {
				got = append(got, name)
			}
		}
		slices.Sort(got)
		if strings.Join(got, ", ") != c.want {
			t.Errorf("%s: port %d of %s answers %q, want %q", c.reason, c.port, c.to, strings.Join(got, ", "), c.want)
		}
	}
}

// TestPublicEgress checks which addresses the tenant's pods reach outside of the host.
func TestPublicEgress(t *testing.T) {
	t.Parallel()
	ch := loadChart(t)
	block := func(values string) *networkingv1.IPBlock {
		for _, rule := range object[*networkingv1.NetworkPolicy](t, mustRender(t, ch, values), "shop-workload-egress").Spec.Egress {
			for _, to := range rule.To {
				if to.IPBlock != nil {
					return to.IPBlock
				}
			}
		}
		return nil
	}
	if got := block(""); got == nil || got.CIDR != "0.0.0.0/0" || !slices.Contains(got.Except, "169.254.0.0/16") || !slices.Contains(got.Except, "10.0.0.0/8") {
		t.Errorf("by default the internet without private and link-local addresses, got %v", got)
	}
	if got := block("policies: {networkPolicy: {workload: {publicEgress: {enabled: false}}}}"); got != nil {
		t.Errorf("nothing without publicEgress, got %v", got)
	}
	want := &networkingv1.IPBlock{CIDR: "192.0.2.0/24"}
	if diff := cmp.Diff(want, block("policies: {networkPolicy: {workload: {publicEgress: {cidr: 192.0.2.0/24, except: []}}}}")); diff != "" {
		t.Errorf("the operator's range (-want +got):\n%s", diff)
	}
	six := block(`policies: {networkPolicy: {workload: {publicEgress: {cidr: "::/0"}}}}`)
	if !slices.Contains(six.Except, "fc00::/7") || slices.Contains(six.Except, "10.0.0.0/8") {
		t.Errorf("the host refuses exceptions of the other family, got %v", six)
	}
	if got := networkPolicies(mustRender(t, ch, "policies: {networkPolicy: {enabled: false}}")); len(got) > 0 {
		t.Errorf("there are %d policies although they are off", len(got))
	}
}

// TestPublicEgressExceptions draws ranges that are open, and exceptions of them. The host accepts what the chart renders,
// and it is what the server knows.
func TestPublicEgressExceptions(t *testing.T) {
	t.Parallel()
	ch := onlyTemplates(loadChart(t), "_ranges.tpl")
	ch.Templates = append(ch.Templates, &common.File{
		Name: "templates/found.txt", Data: []byte(`{{ dict "closes" (include "sublet.closesAll" .Values.public) "except" (include "sublet.exceptions" .Values.public | fromJsonArray) | toJson }}`),
	})
	ch.Schema, ch.SchemaModTime = nil, time.Time{}
	defaults := v1alpha1.Default().Policies.NetworkPolicy.Workload.PublicEgress.Except
	ranges := slices.Concat(defaults, []string{
		"0.0.0.0/0", "8.0.0.0/6", "8.8.0.0/15", "8.8.8.8/32", "10.0.0.0/9", "10.128.0.0/9", "172.0.0.0/8", "::/0", "2000::/3", "2001:db8::/32",
		"2001:db8::/33", "2001:db8:8000::/33", "2001:db8::1/128", "2001:0db8::/34", "fc00::/8", "fd00::/8", "64:ff9b::/96", "64:ff9b::8.0.0.0/102",
	})
	rapid.Check(t, func(t *rapid.T) {
		public := v1alpha1.PublicEgress{
			Enabled: true, CIDR: rapid.SampledFrom(ranges).Draw(t, "range"),
			Except: rapid.SliceOfNDistinct(rapid.SampledFrom(ranges), 0, 6, rapid.ID[string]).Draw(t, "except"),
		}
		except := make([]any, 0, len(public.Except))
		wantCloses := false
		outer := netip.MustParsePrefix(public.CIDR)
		for _, text := range public.Except {
			except = append(except, text)
			inner := netip.MustParsePrefix(text)
			wantCloses = wantCloses || inner.Bits() <= outer.Bits() && inner.Contains(outer.Addr())
		}
		rendered, err := render(ch, map[string]any{"public": map[string]any{"enabled": true, "cidr": public.CIDR, "except": except}})
		if err != nil {
			t.Fatal(err)
		}
		var found struct {
			Closes string   `json:"closes"`
			Except []string `json:"except"`
		}
		if err := json.Unmarshal([]byte(rendered.text["sublet/templates/found.txt"]), &found); err != nil {
			t.Fatal(err)
		}
		if (found.Closes != "") != wantCloses {
			t.Fatalf("%+v: closes all: %t, want %t", public, !wantCloses, wantCloses)
		}
		if diff := cmp.Diff(public.Block().Except, found.Except, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("%+v: the server knows other addresses (-server +chart):\n%s", public, diff)
		}
		for _, text := range public.Except {
			inner := netip.MustParsePrefix(text)
			if want := outer.Contains(inner.Addr()) && inner.Bits() > outer.Bits(); want != slices.Contains(found.Except, text) {
				t.Fatalf("%s as an exception of %s: got %t, want %t", text, outer, !want, want)
			}
		}
	})
}

// TestClosedAddresses checks that no address inside of a host is open by default, in either family of IPs.
func TestClosedAddresses(t *testing.T) {
	t.Parallel()
	public := v1alpha1.Default().Policies.NetworkPolicy.Workload.PublicEgress
	for _, cidr := range []string{"0.0.0.0/0", "::/0"} {
		public.CIDR = cidr
		block := public.Block()
		isOpen := func(text string) bool {
			address := netip.MustParseAddr(text)
			return netip.MustParsePrefix(block.CIDR).Contains(address) && !slices.ContainsFunc(block.Except, func(except string) bool {
				return netip.MustParsePrefix(except).Contains(address)
			})
		}
		for _, text := range []string{
			"10.0.0.1", "127.0.0.1", "169.254.169.254", "192.168.1.1", "100.64.0.1", "224.0.0.1", "::1", "fe80::1", "fec0::1", "fd00:ec2::254", "fd00::1",
			"ff02::1", "64:ff9b::10.0.0.1", "64:ff9b::169.254.169.254", "64:ff9b::127.0.0.1", "64:ff9b:1::1", "2002:a00:1::1", "::10.0.0.1",
		} {
			if isOpen(text) {
				t.Errorf("with %s, %s is open", cidr, text)
			}
		}
		if cidr == "::/0" && !(isOpen("2606:4700::1111") && isOpen("64:ff9b::1.1.1.1")) {
			t.Errorf("public addresses are closed: %+v", block)
		}
	}
}

func networkPolicies(r rendering) []*networkingv1.NetworkPolicy {
	var policies []*networkingv1.NetworkPolicy
	for _, object := range r.objects {
		if policy, ok := object.(*networkingv1.NetworkPolicy); ok {
			policies = append(policies, policy)
		}
	}
	return policies
}

// mayReach evaluates NetworkPolicies between two pods of one namespace.
func mayReach(t *testing.T, policies []*networkingv1.NetworkPolicy, from, to apilabels.Set, port int32) bool {
	t.Helper()
	egress, ingress := true, true
	allowedOut, allowedIn := false, false
	for _, policy := range policies {
		if slices.Contains(policy.Spec.PolicyTypes, networkingv1.PolicyTypeEgress) && selects(t, &policy.Spec.PodSelector, from) {
			egress = false
			for _, rule := range policy.Spec.Egress {
				allowedOut = allowedOut || admits(t, rule.To, to) && hasPort(rule.Ports, port)
			}
		}
		if slices.Contains(policy.Spec.PolicyTypes, networkingv1.PolicyTypeIngress) && selects(t, &policy.Spec.PodSelector, to) {
			ingress = false
			for _, rule := range policy.Spec.Ingress {
				allowedIn = allowedIn || admits(t, rule.From, from) && hasPort(rule.Ports, port)
			}
		}
	}
	return (egress || allowedOut) && (ingress || allowedIn)
}

func admits(t *testing.T, all []networkingv1.NetworkPolicyPeer, pod apilabels.Set) bool {
	t.Helper()
	return len(all) == 0 || slices.ContainsFunc(all, func(peer networkingv1.NetworkPolicyPeer) bool {
		return peer.PodSelector != nil && selects(t, peer.PodSelector, pod)
	})
}

func hasPort(ports []networkingv1.NetworkPolicyPort, port int32) bool {
	return len(ports) == 0 || slices.ContainsFunc(ports, func(p networkingv1.NetworkPolicyPort) bool { return p.Port.IntVal == port })
}

func selects(t *testing.T, selector *metav1.LabelSelector, pod apilabels.Set) bool {
	t.Helper()
	parsed, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		t.Fatal(err)
	}
	return parsed.Matches(pod)
}

// TestNetworkPolicyPorts checks that the policies name the ports that the control plane
// listens on.
func TestNetworkPolicyPorts(t *testing.T) {
	t.Parallel()
	rendered := mustRender(t, loadChart(t), "")
	policy := object[*networkingv1.NetworkPolicy](t, rendered, "shop-control-plane")
	if diff := cmp.Diff(release.Release{Name: "shop"}.ControlPlaneSelector(), policy.Spec.PodSelector.MatchLabels); diff != "" {
		t.Errorf("the syncer knows the control plane by other labels (-want +got):\n%s", diff)
	}
	var open []int32
	for _, rule := range policy.Spec.Ingress {
		for _, port := range rule.Ports {
			open = append(open, port.Port.IntVal)
		}
	}
	for _, listening := range object[*appsv1.StatefulSet](t, rendered, "shop").Spec.Template.Spec.Containers[0].Ports {
		if !slices.Contains(open, listening.ContainerPort) {
			t.Errorf("the control plane listens on %s, which no rule opens", listening.Name)
		}
	}
}

// TestNameserverPorts checks that whoever answers DNS reaches the nameservers of the operator on their ports.
func TestNameserverPorts(t *testing.T) {
	t.Parallel()
	ch := loadChart(t)
	const forward = "networking: {advanced: {dns: {forward: {a.example: 192.0.2.53, b.example: '192.0.2.53:5353', c.example: '192.0.2.53:1053', " +
		"d.example: '192.0.2.53:1053', e.example: 'fd00::53', f.example: '[fd00::53]:8053'}}}}\n"
	for _, c := range []struct{ values, policy, other string }{
		{forward, "shop-control-plane", ""},
		{forward + "controlPlane: {coredns: {replicas: 1}}\n", "shop-dns", "shop-control-plane"},
	} {
		rendered := mustRender(t, ch, c.values)
		if diff := cmp.Diff([]string{"192.0.2.53/32 1053 UDP", "192.0.2.53/32 1053 TCP", "fd00::53/128 8053 UDP", "fd00::53/128 8053 TCP"}, openBlocks(t, rendered, c.policy)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.policy, diff)
		}
		if c.other != "" {
			if got := openBlocks(t, rendered, c.other); got != nil {
				t.Errorf("%s answers no DNS, but opens %v", c.other, got)
			}
		}
	}
}

// openBlocks returns the ranges to which a policy opens ports.
func openBlocks(t *testing.T, r rendering, policy string) []string {
	t.Helper()
	var open []string
	for _, rule := range object[*networkingv1.NetworkPolicy](t, r, policy).Spec.Egress {
		for _, to := range rule.To {
			for _, port := range rule.Ports {
				if to.IPBlock != nil {
					open = append(open, fmt.Sprintf("%s %d %s", to.IPBlock.CIDR, port.Port.IntVal, *port.Protocol))
				}
			}
		}
	}
	return open
}

// TestPoliciesOfPodsThatAreNoCopies compares a pod that a controller of the host has made from a template
// of the tenant with a copy of the tenant. The same policies select and admit both.
func TestPoliciesOfPodsThatAreNoCopies(t *testing.T) {
	t.Parallel()
	made := apilabels.Set{labels.Release: "shop", labels.TenantPrefix + "app": "db", "kubevirt.io": "virt-launcher"}
	selected := 0
	for _, policy := range networkPolicies(mustRender(t, loadChart(t), "integrations: {kubeVirt: {enabled: true}}")) {
		if selects(t, &policy.Spec.PodSelector, made) != selects(t, &policy.Spec.PodSelector, peers()["tenant"]) {
			t.Errorf("%s selects one and not the other", policy.Name)
		}
		if selects(t, &policy.Spec.PodSelector, made) {
			selected++
		}
		for _, rule := range policy.Spec.Ingress {
			if admits(t, rule.From, made) != admits(t, rule.From, peers()["tenant"]) {
				t.Errorf("%s admits one and not the other", policy.Name)
			}
		}
	}
	if selected != 3 {
		t.Errorf("%d policies select the pod, want those of workloads", selected)
	}
}
