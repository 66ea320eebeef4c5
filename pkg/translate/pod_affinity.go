package translate

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apilabels "k8s.io/apimachinery/pkg/labels"
)

// NeedsNamespaces reports whether [Pod] reads [PodInput.Namespaces].
func NeedsNamespaces(virtual, host *corev1.Pod) bool {
	if host.UID != "" {
		return false
	}
	needs := false
	eachAffinityTerm(virtual.Spec.Affinity, func(term *corev1.PodAffinityTerm) {
		needs = needs || term.NamespaceSelector != nil && !selectsEverything(term.NamespaceSelector)
	})
	return needs
}

// rewriteAffinity gives the scheduling rules of a pod the same meaning on the host. Rules
// about pods see only the pods of this cluster.
func rewriteAffinity(in PodInput, virtual *corev1.Pod, spec *corev1.PodSpec) {
	eachAffinityTerm(spec.Affinity, func(term *corev1.PodAffinityTerm) {
		selector := withLabelKeys(term.LabelSelector, term.MatchLabelKeys, metav1.LabelSelectorOpIn, virtual.Labels)
		selector = withLabelKeys(selector, term.MismatchLabelKeys, metav1.LabelSelectorOpNotIn, virtual.Labels)
		*term = corev1.PodAffinityTerm{
			TopologyKey:   term.TopologyKey,
			LabelSelector: toHostSelector(in.Cluster, termNamespaces(in, virtual.Namespace, term), selector),
		}
	})
	for i := range spec.TopologySpreadConstraints {
		constraint := &spec.TopologySpreadConstraints[i]
		selector := withLabelKeys(constraint.LabelSelector, constraint.MatchLabelKeys, metav1.LabelSelectorOpIn, virtual.Labels)
		constraint.LabelSelector = toHostSelector(in.Cluster, []string{virtual.Namespace}, selector)
		constraint.MatchLabelKeys = nil
	}
	applyNodeRules(in, virtual, spec)
}

// eachAffinityTerm visits every rule of a pod about other pods.
func eachAffinityTerm(affinity *corev1.Affinity, visit func(*corev1.PodAffinityTerm)) {
	if affinity == nil {
		return
	}
	each := func(required []corev1.PodAffinityTerm, preferred []corev1.WeightedPodAffinityTerm) {
		for i := range required {
			visit(&required[i])
		}
		for i := range preferred {
			visit(&preferred[i].PodAffinityTerm)
		}
	}
	if pods := affinity.PodAffinity; pods != nil {
		each(pods.RequiredDuringSchedulingIgnoredDuringExecution, pods.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	if pods := affinity.PodAntiAffinity; pods != nil {
		each(pods.RequiredDuringSchedulingIgnoredDuringExecution, pods.PreferredDuringSchedulingIgnoredDuringExecution)
	}
}

// withLabelKeys returns selector with the pod's own values under keys. An API server that
// knows matchLabelKeys has added them already. Written out, they work on every host.
func withLabelKeys(selector *metav1.LabelSelector, keys []string, operator metav1.LabelSelectorOperator, own map[string]string) *metav1.LabelSelector {
	if selector == nil || len(keys) == 0 {
		return selector
	}
	selector = selector.DeepCopy()
	for _, key := range keys {
		value, has := own[key]
		requirement := metav1.LabelSelectorRequirement{Key: key, Operator: operator, Values: []string{value}}
		there := slices.ContainsFunc(selector.MatchExpressions, func(r metav1.LabelSelectorRequirement) bool {
			return r.Key == key && r.Operator == operator && slices.Equal(r.Values, requirement.Values)
		})
		if has && !there {
			selector.MatchExpressions = append(selector.MatchExpressions, requirement)
		}
	}
	return selector
}

// termNamespaces returns the virtual namespaces that a rule is about, nil for all.
func termNamespaces(in PodInput, own string, term *corev1.PodAffinityTerm) []string {
	if term.NamespaceSelector == nil {
		if len(term.Namespaces) == 0 {
			return []string{own}
		}
		return term.Namespaces
	}
	if selectsEverything(term.NamespaceSelector) {
		return nil
	}
	namespaces := append([]string{}, term.Namespaces...)
	selector, err := metav1.LabelSelectorAsSelector(term.NamespaceSelector)
	if err != nil {
		// The virtual API server has validated the selector.
		return namespaces
	}
	for i := range in.Namespaces {
		if selector.Matches(apilabels.Set(in.Namespaces[i].Labels)) {
			namespaces = append(namespaces, in.Namespaces[i].Name)
		}
	}
	return namespaces
}

// selectsEverything reports whether a selector has no requirement.
func selectsEverything(selector *metav1.LabelSelector) bool {
	return len(selector.MatchLabels) == 0 && len(selector.MatchExpressions) == 0
}

// applyNodeRules limits the pod to the node that the tenant named and to the nodes that
// the tenant may see. The host's scheduler still decides, so that no pod gets to a node
// where it does not fit.
func applyNodeRules(in PodInput, virtual *corev1.Pod, spec *corev1.PodSpec) {
	requireNodes(in, virtual.Spec.NodeName, spec)
}

// nodeNameField is the field of a node with its name.
const nodeNameField = "metadata.name"

// requireNodes limits the pod to a node, unless that is empty, and to the nodes that the
// tenant may see.
func requireNodes(in PodInput, node string, spec *corev1.PodSpec) {
	var fields, expressions []corev1.NodeSelectorRequirement
	if node != "" {
		fields = append(fields, corev1.NodeSelectorRequirement{
			Key: nodeNameField, Operator: corev1.NodeSelectorOpIn, Values: []string{node},
		})
	}
	for _, key := range slices.Sorted(maps.Keys(in.NodeSelector)) {
		expressions = append(expressions, corev1.NodeSelectorRequirement{
			Key: key, Operator: corev1.NodeSelectorOpIn, Values: []string{in.NodeSelector[key]},
		})
	}
	if len(fields)+len(expressions) > 0 {
		requireNode(spec, fields, expressions)
	}
}

// requireNode puts requirements before those of each of the alternatives that the pod has for
// its node. The tenant may add to the alternatives of a gated pod, and an API server takes what is
// new at the end alone.
func requireNode(spec *corev1.PodSpec, fields, expressions []corev1.NodeSelectorRequirement) {
	if spec.Affinity == nil {
		spec.Affinity = &corev1.Affinity{}
	}
	if spec.Affinity.NodeAffinity == nil {
		spec.Affinity.NodeAffinity = &corev1.NodeAffinity{}
	}
	node := spec.Affinity.NodeAffinity
	if node.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		node.RequiredDuringSchedulingIgnoredDuringExecution = &corev1.NodeSelector{
			NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchFields: fields, MatchExpressions: expressions}},
		}
		return
	}
	terms := node.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
	for i := range terms {
		if len(terms[i].MatchFields)+len(terms[i].MatchExpressions) == 0 {
			// An empty alternative selects no node and must not come to select some.
			continue
		}
		terms[i].MatchFields = slices.Concat(fields, terms[i].MatchFields)
		terms[i].MatchExpressions = slices.Concat(expressions, terms[i].MatchExpressions)
	}
}
