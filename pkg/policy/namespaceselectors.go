package policy

import (
	"strconv"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// maxNamespaceSelectors is the maximum number of selectors of namespaces in one object. The copy names all namespaces that
// each of them selects, so a small object with many of them could take all memory.
const maxNamespaceSelectors = 100

// EvaluateNamespaceSelectors returns the fields of a NetworkPolicy with too many selectors of namespaces. An update may
// leave them as they are. before is nil for a create.
func EvaluateNamespaceSelectors(before, after *networkingv1.NetworkPolicy) []Violation {
	count := peerSelectors(after)
	if before != nil && count <= peerSelectors(before) {
		return nil
	}
	return checkNamespaceSelectors("spec", count)
}

// peerSelectors returns the number of peers with a selector of namespaces.
func peerSelectors(policy *networkingv1.NetworkPolicy) (count int) {
	add := func(peers []networkingv1.NetworkPolicyPeer) {
		for _, peer := range peers {
			if selectsSome(peer.NamespaceSelector) {
				count++
			}
		}
	}
	for _, rule := range policy.Spec.Ingress {
		add(rule.From)
	}
	for _, rule := range policy.Spec.Egress {
		add(rule.To)
	}
	return count
}

// namespaceSelectors limits the selectors of namespaces in the affinity of a pod.
func namespaceSelectors(_ *metav1.ObjectMeta, spec *corev1.PodSpec) []Violation {
	if spec.Affinity == nil {
		return nil
	}
	count := 0
	add := func(required []corev1.PodAffinityTerm, preferred []corev1.WeightedPodAffinityTerm) {
		for i := range required {
			if selectsSome(required[i].NamespaceSelector) {
				count++
			}
		}
		for i := range preferred {
			if selectsSome(preferred[i].PodAffinityTerm.NamespaceSelector) {
				count++
			}
		}
	}
	if pods := spec.Affinity.PodAffinity; pods != nil {
		add(pods.RequiredDuringSchedulingIgnoredDuringExecution, pods.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	if pods := spec.Affinity.PodAntiAffinity; pods != nil {
		add(pods.RequiredDuringSchedulingIgnoredDuringExecution, pods.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	return checkNamespaceSelectors("spec.affinity", count)
}

// selectsSome reports whether a selector is for some namespaces and not for all.
func selectsSome(selector *metav1.LabelSelector) bool {
	return selector != nil && len(selector.MatchLabels)+len(selector.MatchExpressions) > 0
}

// checkNamespaceSelectors denies a field with too many selectors of namespaces.
func checkNamespaceSelectors(field string, count int) []Violation {
	if count <= maxNamespaceSelectors {
		return nil
	}
	return []Violation{{
		Field: field, Value: strconv.Itoa(count) + " namespaceSelectors",
		Detail: "the copy on the host names all namespaces of each; use at most " + strconv.Itoa(maxNamespaceSelectors),
	}}
}
