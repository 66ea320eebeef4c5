package translate

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/sublet-dev/sublet/api/labels"
)

// IsGateOutdated reports whether a gated host pod cannot follow the tenant's rules about nodes. An
// API server takes only additions to the alternatives that a pod has for its node. The host pod
// has one more than the virtual pod where the operator limits the nodes. nodes are the labels of
// those.
func IsGateOutdated(virtual, host *corev1.Pod, nodes map[string]string) bool {
	if len(host.Spec.SchedulingGates) == 0 || host.Spec.Affinity == nil || virtual.Spec.Affinity == nil {
		return false
	}
	sent := DecodeLastApplied(host.Annotations[labels.LastApplied])[nodesGroup]["affinity"]
	if affinity := virtual.Spec.Affinity.NodeAffinity; affinity == nil || digest(affinity) == sent {
		return false
	}
	wanted := wantedNodeAffinity(PodInput{NodeSelector: nodes}, virtual)
	return !isAddition(requiredTerms(host.Spec.Affinity.NodeAffinity), requiredTerms(wanted))
}

// requiredTerms returns the alternatives that a pod has for its node, none if it may get to any.
func requiredTerms(affinity *corev1.NodeAffinity) []corev1.NodeSelectorTerm {
	if affinity == nil || affinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return nil
	}
	return affinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
}

// isAddition reports whether an API server lets a gated pod change its alternatives.
func isAddition(before, after []corev1.NodeSelectorTerm) bool {
	if len(before) == 0 {
		return true
	}
	return slices.EqualFunc(before, after, func(before, after corev1.NodeSelectorTerm) bool {
		isEmpty := len(before.MatchExpressions)+len(before.MatchFields) == 0
		return startsWith(after.MatchExpressions, before.MatchExpressions) && startsWith(after.MatchFields, before.MatchFields) &&
			(!isEmpty || len(after.MatchExpressions)+len(after.MatchFields) == 0)
	})
}

// startsWith reports whether requirements begin with others.
func startsWith(all, first []corev1.NodeSelectorRequirement) bool {
	return len(all) >= len(first) && (len(first) == 0 || equality.Semantic.DeepEqual(all[:len(first)], first))
}
