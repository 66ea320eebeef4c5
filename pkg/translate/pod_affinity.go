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
	EachAffinityTerm(virtual.Spec.Affinity, func(term *corev1.PodAffinityTerm) {
		needs = needs || SelectsSome(term.NamespaceSelector)
	})
	return needs
}

// rewriteAffinity rewrites the affinity and topology spread of a pod so that they mean the same
// on the host. Pod selectors then only match pods of this virtual cluster.
func rewriteAffinity(in PodInput, virtual *corev1.Pod, spec *corev1.PodSpec) {
	EachAffinityTerm(spec.Affinity, func(term *corev1.PodAffinityTerm) {
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
	limitToNodes(in.NodeSelector, virtual.Spec.NodeName, spec)
}

// EachAffinityTerm visits all pod affinity and anti-affinity terms.
func EachAffinityTerm(affinity *corev1.Affinity, visit func(*corev1.PodAffinityTerm)) {
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

// withLabelKeys returns selector with requirements for the pod's own values of keys, as an API
// server adds them for matchLabelKeys. Older hosts do not know that field.
func withLabelKeys(selector *metav1.LabelSelector, keys []string, operator metav1.LabelSelectorOperator, own map[string]string) *metav1.LabelSelector {
	if selector == nil || len(keys) == 0 {
		return selector
	}
	selector = selector.DeepCopy()
	for _, key := range keys {
		value, ok := own[key]
		requirement := metav1.LabelSelectorRequirement{Key: key, Operator: operator, Values: []string{value}}
		exists := slices.ContainsFunc(selector.MatchExpressions, func(r metav1.LabelSelectorRequirement) bool {
			return r.Key == key && r.Operator == operator && slices.Equal(r.Values, requirement.Values)
		})
		if ok && !exists {
			selector.MatchExpressions = append(selector.MatchExpressions, requirement)
		}
	}
	return selector
}

// termNamespaces returns the virtual namespaces of a pod affinity term, nil for all.
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

// SelectsSome reports whether a selector is set and has a requirement.
func SelectsSome(selector *metav1.LabelSelector) bool {
	return selector != nil && !selectsEverything(selector)
}

// selectsEverything reports whether a selector has no requirement.
func selectsEverything(selector *metav1.LabelSelector) bool {
	return len(selector.MatchLabels) == 0 && len(selector.MatchExpressions) == 0
}

// nodeNameField is the field that selects a node by its name.
const nodeNameField = "metadata.name"

// limitToNodes limits the pod to the nodes with the labels of selector, and to one node unless
// that is empty. It uses node affinity, so that the host's scheduler still checks whether the pod
// fits.
func limitToNodes(selector map[string]string, node string, spec *corev1.PodSpec) {
	var fields, expressions []corev1.NodeSelectorRequirement
	if node != "" {
		fields = append(fields, corev1.NodeSelectorRequirement{
			Key: nodeNameField, Operator: corev1.NodeSelectorOpIn, Values: []string{node},
		})
	}
	for _, key := range slices.Sorted(maps.Keys(selector)) {
		expressions = append(expressions, corev1.NodeSelectorRequirement{
			Key: key, Operator: corev1.NodeSelectorOpIn, Values: []string{selector[key]},
		})
	}
	if len(fields)+len(expressions) > 0 {
		prependNodeRequirements(spec, fields, expressions)
	}
}

// prependNodeRequirements prepends requirements to each node selector term of the pod. They come first,
// because an API server only accepts new requirements of a gated pod at the end of a term.
func prependNodeRequirements(spec *corev1.PodSpec, fields, expressions []corev1.NodeSelectorRequirement) {
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
			// An empty term selects no node, and must not select any afterwards.
			continue
		}
		terms[i].MatchFields = slices.Concat(fields, terms[i].MatchFields)
		terms[i].MatchExpressions = slices.Concat(expressions, terms[i].MatchExpressions)
	}
}
