package translate

import (
	"maps"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apilabels "k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
)

// TestTopologyLabels follows the zone of a pod. A selector of the tenant finds the host pod exactly
// if it finds the virtual pod.
func TestTopologyLabels(t *testing.T) {
	t.Parallel()
	const zone = corev1.LabelTopologyZone
	for _, test := range []struct {
		name         string
		first, then  string // the zone of the virtual pod, at first and then
		onHost       string // the zone that the host has set in between
		selected     bool   // a selector names zones
		want         string // under the host key
		writtenLater bool
	}{
		{name: "nothing selects by zone", then: "a", onHost: "a"},
		{name: "a Service selects by zone", then: "a", onHost: "a", selected: true, want: "a", writtenLater: true},
		{name: "of a template", first: "a", then: "a", want: "a"},
		{name: "of a template, and bound elsewhere", first: "a", then: "b", onHost: "b", want: "b", writtenLater: true},
		{name: "removed", first: "a", onHost: "b", selected: true, writtenLater: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			set := func(pod *corev1.Pod, value string) {
				if delete(pod.Labels, zone); value != "" {
					pod.Labels[zone] = value
				}
			}
			in := passing()
			in.PassesLabel = func(string) bool { return true }
			virtual := webPod(func(p *corev1.Pod) { set(p, test.first) })
			host := created(t, in, virtual)
			set(host, test.onHost)
			before := maps.Clone(host.Labels)
			set(virtual, test.then)
			if lacks := LacksTopology(virtual, host); lacks != (test.first == "" && test.then != "") {
				t.Errorf("the host pod lacks a label: %t", lacks)
			}
			in.SelectsTopology = test.selected
			if err := Pod(in, virtual, host); err != nil {
				t.Fatal(err)
			}
			if host.Labels[zone] != test.onHost || host.Labels[TenantLabel(zone)] != test.want {
				t.Errorf("the host pod has %v, want its own zone %q and the tenant's %q", host.Labels, test.onHost, test.want)
			}
			if written := !maps.Equal(before, host.Labels); written != test.writtenLater {
				t.Errorf("labels are written later: %t", written)
			}
			for _, selector := range topologySelectors() {
				service := &corev1.Service{Spec: corev1.ServiceSpec{Selector: selector.MatchLabels}}
				if isSelected := selectsPod(t, selector, virtual); isSelected != selectsPod(t, toHostSelector(shop, []string{virtual.Namespace}, selector), host) && (test.selected || test.first != "") {
					t.Errorf("%v selects the virtual pod: %t, and not so the host pod", selector, isSelected)
				}
				if len(selector.MatchLabels) > 0 && !SelectsTopology(service) {
					t.Errorf("%v selects by zone", service.Spec.Selector)
				}
			}
		})
	}
}

// topologySelectors returns selectors of pods by their zone.
func topologySelectors() []*metav1.LabelSelector {
	all := []*metav1.LabelSelector{{MatchLabels: map[string]string{"app": "web", corev1.LabelTopologyZone: "a"}}}
	for operator, values := range map[metav1.LabelSelectorOperator][]string{
		metav1.LabelSelectorOpIn: {"a", "c"}, metav1.LabelSelectorOpNotIn: {"a"}, metav1.LabelSelectorOpExists: nil, metav1.LabelSelectorOpDoesNotExist: nil,
	} {
		all = append(all, &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: corev1.LabelTopologyZone, Operator: operator, Values: values}}})
	}
	return all
}

func selectsPod(t *testing.T, selector *metav1.LabelSelector, pod *corev1.Pod) bool {
	t.Helper()
	parsed, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		t.Fatal(err)
	}
	return parsed.Matches(apilabels.Set(pod.Labels))
}

func TestSelectsTopology(t *testing.T) {
	t.Parallel()
	for _, selector := range topologySelectors() {
		peers := []networkingv1.NetworkPolicyPeer{{IPBlock: &networkingv1.IPBlock{CIDR: "10.0.0.0/8"}}, {PodSelector: selector}}
		affinity := func(terms ...corev1.PodAffinityTerm) runtime.Object {
			return webPod(func(p *corev1.Pod) {
				p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: terms}}
			})
		}
		for name, object := range map[string]runtime.Object{
			"budget":   &policyv1.PodDisruptionBudget{Spec: policyv1.PodDisruptionBudgetSpec{Selector: selector}},
			"policy":   &networkingv1.NetworkPolicy{Spec: networkingv1.NetworkPolicySpec{PodSelector: *selector}},
			"ingress":  &networkingv1.NetworkPolicy{Spec: networkingv1.NetworkPolicySpec{Ingress: []networkingv1.NetworkPolicyIngressRule{{}, {From: peers}}}},
			"egress":   &networkingv1.NetworkPolicy{Spec: networkingv1.NetworkPolicySpec{Egress: []networkingv1.NetworkPolicyEgressRule{{}, {To: peers}}}},
			"affinity": affinity(corev1.PodAffinityTerm{LabelSelector: selector}),
			"own zone": affinity(corev1.PodAffinityTerm{MatchLabelKeys: []string{corev1.LabelTopologyRegion}}),
			"spread": webPod(func(p *corev1.Pod) {
				p.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{LabelSelector: selector}}
			}),
		} {
			if !SelectsTopology(object) {
				t.Errorf("%s selects by %v", name, selector)
			}
		}
	}
	other := &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}
	for _, object := range []runtime.Object{
		&corev1.Service{Spec: corev1.ServiceSpec{Selector: other.MatchLabels}}, &corev1.Node{},
		&policyv1.PodDisruptionBudget{}, &policyv1.PodDisruptionBudget{Spec: policyv1.PodDisruptionBudgetSpec{Selector: other}},
		&networkingv1.NetworkPolicy{Spec: networkingv1.NetworkPolicySpec{PodSelector: *other}},
		webPod(func(p *corev1.Pod) {
			p.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{TopologyKey: corev1.LabelTopologyZone, LabelSelector: other}}
		}),
	} {
		if SelectsTopology(object) {
			t.Errorf("%T does not select by zone", object)
		}
	}
}
