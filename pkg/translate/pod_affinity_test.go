package translate

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apilabels "k8s.io/apimachinery/pkg/labels"
	"pgregory.net/rapid"

	"github.com/sublet-dev/sublet/api/labels"
)

// worldNamespaces returns the virtual namespaces of the tests.
func worldNamespaces() []corev1.Namespace {
	namespace := func(name string, set map[string]string) corev1.Namespace {
		return corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: set}}
	}
	return []corev1.Namespace{
		namespace("default", map[string]string{"app": "a"}),
		namespace("shop", map[string]string{"app": "b", "tier": "a"}),
		namespace("db", nil),
	}
}

// selectedByTerm returns what a rule selects.
func selectedByTerm(t *rapid.T, term *corev1.PodAffinityTerm, own, namespace string, namespaceLabels, pod map[string]string) bool {
	inside := false
	for _, n := range term.Namespaces {
		inside = inside || n == namespace
	}
	if term.NamespaceSelector != nil {
		inside = inside || matches(t, term.NamespaceSelector, namespaceLabels)
	} else if len(term.Namespaces) == 0 {
		inside = namespace == own
	}
	return inside && matches(t, term.LabelSelector, pod)
}

func TestAffinityTermIsAboutTheSamePods(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		term := corev1.PodAffinityTerm{TopologyKey: corev1.LabelHostname, Namespaces: rapid.SliceOfN(rapid.SampledFrom([]string{"default", "shop", "db"}), 0, 2).Draw(t, "namespaces")}
		if rapid.Bool().Draw(t, "hasSelector") {
			term.LabelSelector = selectorOf(t)
		}
		if rapid.Bool().Draw(t, "hasNamespaceSelector") {
			term.NamespaceSelector = selectorOf(t)
		}
		anti, preferred := rapid.Bool().Draw(t, "anti"), rapid.Bool().Draw(t, "preferred")
		virtual := webPod(func(pod *corev1.Pod) { pod.Spec.Affinity = affinityOf(term, anti, preferred) })
		in := input()
		if NeedsNamespaces(virtual, stamped(virtual)) {
			in.Namespaces = worldNamespaces()
		}
		host := stamped(virtual)
		if err := Pod(in, virtual, host); err != nil {
			t.Fatal(err)
		}
		var got corev1.PodAffinityTerm
		EachAffinityTerm(host.Spec.Affinity, func(term *corev1.PodAffinityTerm) { got = *term })
		if got.Namespaces != nil || got.NamespaceSelector != nil || got.TopologyKey != term.TopologyKey {
			t.Errorf("on the host all pods are in one namespace: %v", got)
		}

		pod := labelSet().Draw(t, "pod")
		for _, namespace := range worldNamespaces() {
			want := selectedByTerm(t, &term, "default", namespace.Name, namespace.Labels, pod)
			set := newHostLabels(shop, namespace.Name, pod)
			if has := selectedByTerm(t, &got, shop.Namespace, shop.Namespace, nil, set); has != want {
				t.Errorf("pod %v in %s: the virtual term %v says %t, the host's %v %t", pod, namespace.Name, term, want, got, has)
			}
			set[labels.Cluster] = "another"
			if selectedByTerm(t, &got, shop.Namespace, shop.Namespace, nil, set) {
				t.Errorf("the host's term is about a pod of another virtual cluster")
			}
		}
	})
}

func affinityOf(term corev1.PodAffinityTerm, anti, preferred bool) *corev1.Affinity {
	required, weighted := []corev1.PodAffinityTerm{term}, []corev1.WeightedPodAffinityTerm(nil)
	if preferred {
		required, weighted = nil, []corev1.WeightedPodAffinityTerm{{Weight: 1, PodAffinityTerm: term}}
	}
	if anti {
		return &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: required, PreferredDuringSchedulingIgnoredDuringExecution: weighted}}
	}
	return &corev1.Affinity{PodAffinity: &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: required, PreferredDuringSchedulingIgnoredDuringExecution: weighted}}
}

func TestMatchLabelKeys(t *testing.T) {
	t.Parallel()
	virtual := webPod(func(pod *corev1.Pod) {
		pod.Labels = map[string]string{"app": "web", "hash": "1"}
		pod.Spec.Affinity = affinityOf(corev1.PodAffinityTerm{
			TopologyKey:       "zone",
			LabelSelector:     &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
			MatchLabelKeys:    []string{"hash", "absent"},
			MismatchLabelKeys: []string{"app"},
		}, false, false)
		pod.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{
			TopologyKey: "zone",
			LabelSelector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
				// An API server that knows the field has added it already.
				{Key: "hash", Operator: metav1.LabelSelectorOpIn, Values: []string{"1"}},
			}},
			MatchLabelKeys: []string{"hash"},
		}}
	})
	spec := created(t, input(), virtual).Spec
	in := func(key, value string) metav1.LabelSelectorRequirement {
		return metav1.LabelSelectorRequirement{Key: key, Operator: metav1.LabelSelectorOpIn, Values: []string{value}}
	}
	wantTerm := corev1.PodAffinityTerm{TopologyKey: "zone", LabelSelector: &metav1.LabelSelector{
		MatchLabels: map[string]string{TenantLabel("app"): "web", labels.Cluster: shop.UID},
		MatchExpressions: []metav1.LabelSelectorRequirement{
			in(TenantLabel("hash"), "1"),
			{Key: TenantLabel("app"), Operator: metav1.LabelSelectorOpNotIn, Values: []string{"web"}},
			in(labels.Namespace, "default"),
		},
	}}
	if diff := cmp.Diff(wantTerm, spec.Affinity.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution[0]); diff != "" {
		t.Errorf("term (-want +got):\n%s", diff)
	}
	wantSpread := corev1.TopologySpreadConstraint{TopologyKey: "zone", LabelSelector: &metav1.LabelSelector{
		MatchLabels:      map[string]string{labels.Cluster: shop.UID},
		MatchExpressions: []metav1.LabelSelectorRequirement{in(TenantLabel("hash"), "1"), in(labels.Namespace, "default")},
	}}
	if diff := cmp.Diff(wantSpread, spec.TopologySpreadConstraints[0]); diff != "" {
		t.Errorf("constraint (-want +got):\n%s", diff)
	}
}

func TestConfine(t *testing.T) {
	t.Parallel()
	term := func(fields, expressions map[string]string) corev1.NodeSelectorTerm {
		var out corev1.NodeSelectorTerm
		for k, v := range fields {
			out.MatchFields = append(out.MatchFields, corev1.NodeSelectorRequirement{Key: k, Operator: corev1.NodeSelectorOpIn, Values: []string{v}})
		}
		for k, v := range expressions {
			out.MatchExpressions = append(out.MatchExpressions, corev1.NodeSelectorRequirement{Key: k, Operator: corev1.NodeSelectorOpIn, Values: []string{v}})
		}
		return out
	}
	type m = map[string]string
	tests := map[string]struct {
		reason   string
		node     string
		selector m
		own      []corev1.NodeSelectorTerm
		want     []corev1.NodeSelectorTerm
	}{
		"Nothing": {reason: "nothing is added that nobody asked for"},
		"NodeName": {
			reason: "the named node is a rule for the host's scheduler, not a way around it",
			node:   "node-1",
			want:   []corev1.NodeSelectorTerm{term(m{"metadata.name": "node-1"}, nil)},
		},
		"NodeNameAndRules": {
			reason: "each alternative of the tenant gets the rule",
			node:   "node-1",
			own:    []corev1.NodeSelectorTerm{term(nil, m{"zone": "a"}), term(nil, m{"zone": "b"})},
			want:   []corev1.NodeSelectorTerm{term(m{"metadata.name": "node-1"}, m{"zone": "a"}), term(m{"metadata.name": "node-1"}, m{"zone": "b"})},
		},
		"EmptyAlternative": {
			reason: "an empty alternative is about no node and must stay so",
			node:   "node-1",
			own:    []corev1.NodeSelectorTerm{{}},
			want:   []corev1.NodeSelectorTerm{{}},
		},
		"VisibleNodes": {
			reason:   "a pod cannot run where the tenant sees no node",
			selector: m{"pool": "tenants"},
			want:     []corev1.NodeSelectorTerm{term(nil, m{"pool": "tenants"})},
		},
		"Conflict": {
			reason:   "a tenant who asks for other nodes gets none, not the operator's",
			selector: m{"pool": "tenants"},
			own:      []corev1.NodeSelectorTerm{term(m{"metadata.name": "node-9"}, nil)},
			want:     []corev1.NodeSelectorTerm{term(m{"metadata.name": "node-9"}, m{"pool": "tenants"})},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := input()
			in.NodeSelector = tt.selector
			virtual := webPod(func(pod *corev1.Pod) {
				pod.Spec.NodeName = tt.node
				if tt.own != nil {
					pod.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
						RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: tt.own},
					}}
				}
			})
			spec := created(t, in, virtual).Spec
			if spec.NodeName != "" {
				t.Errorf("the host pod is bound to %s past the host's scheduler", spec.NodeName)
			}
			if tt.want == nil {
				if spec.Affinity != nil {
					t.Errorf("%s: %v", tt.reason, spec.Affinity)
				}
				return
			}
			if diff := cmp.Diff(tt.want, spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tt.reason, diff)
			}
		})
	}
}

func TestNeedsNamespaces(t *testing.T) {
	t.Parallel()
	term := corev1.PodAffinityTerm{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"team": "web"}}}
	every := corev1.PodAffinityTerm{NamespaceSelector: &metav1.LabelSelector{}}
	named := corev1.PodAffinityTerm{Namespaces: []string{"db"}}
	tests := map[string]struct {
		reason string
		term   corev1.PodAffinityTerm
		exists bool
		want   bool
	}{
		"Selector": {reason: "which namespaces they are is not known", term: term, want: true},
		"Every":    {reason: "every namespace is no namespace in particular", term: every},
		"Named":    {reason: "the tenant named them", term: named},
		"Exists":   {reason: "affinity never changes on a pod that exists", term: term, exists: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			virtual := webPod(func(pod *corev1.Pod) { pod.Spec.Affinity = affinityOf(tt.term, true, true) })
			host := stamped(virtual)
			if tt.exists {
				host.UID = "host-uid"
			}
			if got := NeedsNamespaces(virtual, host); got != tt.want {
				t.Errorf("%s: got %t", tt.reason, got)
			}
		})
	}
}

// TestSpreadCountsOwnPods holds a topology constraint to the pods of the virtual
// namespace, as it would be without a host.
func TestSpreadCountsOwnPods(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		selector, pod := selectorOf(t), labelSet().Draw(t, "pod")
		virtual := webPod(func(p *corev1.Pod) {
			p.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{MaxSkew: 1, TopologyKey: "zone", LabelSelector: selector}}
		})
		host := stamped(virtual)
		if err := Pod(input(), virtual, host); err != nil {
			t.Fatal(err)
		}
		got, err := metav1.LabelSelectorAsSelector(host.Spec.TopologySpreadConstraints[0].LabelSelector)
		if err != nil {
			t.Fatal(err)
		}
		if counts := got.Matches(apilabels.Set(newHostLabels(shop, "default", pod))); counts != matches(t, selector, pod) {
			t.Errorf("pod %v counts on the host: %t", pod, counts)
		}
		if got.Matches(apilabels.Set(newHostLabels(shop, "other", pod))) {
			t.Errorf("a pod of another virtual namespace counts")
		}
	})
}
