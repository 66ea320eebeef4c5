package translate

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/sublet-dev/sublet/api/labels"
)

// IsGateOutdated reports whether the node affinity of a gated host pod cannot be updated to that of
// the virtual pod. The host pod must then be created again. An API server only accepts added
// requirements. The host pod also has requirements for nodes, the labels to which the operator
// limits the nodes. So a change that is valid for the virtual pod may be invalid for it.
func IsGateOutdated(virtual, host *corev1.Pod, nodes map[string]string) bool {
	if len(host.Spec.SchedulingGates) == 0 || host.Spec.Affinity == nil || virtual.Spec.Affinity == nil {
		return false
	}
	sent := DecodeLastApplied(host.Annotations[labels.LastApplied])[nodesGroup]["affinity"]
	if affinity := virtual.Spec.Affinity.NodeAffinity; affinity == nil || digest(affinity) == sent {
		return false
	}
	wanted := wantedNodeAffinity(nodes, virtual)
	return !isAddition(requiredTerms(host.Spec.Affinity.NodeAffinity), requiredTerms(wanted))
}

// requiredTerms returns the required node selector terms, nil if there are none.
func requiredTerms(affinity *corev1.NodeAffinity) []corev1.NodeSelectorTerm {
	if affinity == nil || affinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return nil
	}
	return affinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
}

// isAddition reports whether an API server accepts a change of the required node selector terms of
// a gated pod.
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

// startsWith reports whether first is a prefix of all.
func startsWith(all, first []corev1.NodeSelectorRequirement) bool {
	return len(all) >= len(first) && (len(first) == 0 || equality.Semantic.DeepEqual(all[:len(first)], first))
}
