package translate

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// topologyLabels returns the labels of a pod that name the region and zone of its node. The API
// server of each side sets them when the pod is bound.
func topologyLabels() []string {
	return []string{corev1.LabelTopologyZone, corev1.LabelTopologyRegion}
}

// isTopologyLabel reports whether a label of a pod names the zone or region of its node.
func isTopologyLabel(key string) bool {
	return key == corev1.LabelTopologyZone || key == corev1.LabelTopologyRegion
}

// isTopologyNeeded reports whether a host pod gets a topology label of the virtual pod under its
// host key. A new host pod gets it with its creation, and then follows its changes. The virtual
// API server mostly sets it later, which would cost one more request to the host per pod. So it is
// only copied if a selector of the tenant names such a label.
func isTopologyNeeded(in PodInput, host *corev1.Pod, key string) bool {
	_, ok := host.Labels[TenantLabel(key)]
	return ok || host.UID == "" || in.SelectsTopology
}

// LacksTopology reports whether a host pod lacks a topology label of the virtual pod.
func LacksTopology(virtual, host *corev1.Pod) bool {
	return host.UID != "" && slices.ContainsFunc(topologyLabels(), func(key string) bool {
		_, ok := virtual.Labels[key]
		_, copied := host.Labels[TenantLabel(key)]
		return ok && !copied
	})
}

// HasTopology reports whether a pod has a label that names the zone or region of its node.
func HasTopology(pod *corev1.Pod) bool { return namesTopology(pod.Labels) }

// SelectsTopology reports whether an object selects pods by their zone or region. It knows
// Services, PodDisruptionBudgets, NetworkPolicies, and the affinity and spread of pods.
func SelectsTopology(object runtime.Object) bool {
	switch object := object.(type) {
	case *corev1.Service:
		return namesTopology(object.Spec.Selector)
	case *policyv1.PodDisruptionBudget:
		return selectsTopology(object.Spec.Selector)
	case *networkingv1.NetworkPolicy:
		return policySelectsTopology(&object.Spec)
	case *corev1.Pod:
		return podSelectsTopology(&object.Spec)
	default:
		return false
	}
}

// namesTopology reports whether labels have a topology label.
func namesTopology(labels map[string]string) bool {
	return slices.ContainsFunc(topologyLabels(), func(key string) bool {
		_, ok := labels[key]
		return ok
	})
}

// selectsTopology reports whether a selector names a topology label.
func selectsTopology(selector *metav1.LabelSelector) bool {
	return selector != nil && (namesTopology(selector.MatchLabels) ||
		slices.ContainsFunc(selector.MatchExpressions, func(r metav1.LabelSelectorRequirement) bool { return isTopologyLabel(r.Key) }))
}

// policySelectsTopology reports whether a NetworkPolicy selects pods by their zone or region.
func policySelectsTopology(spec *networkingv1.NetworkPolicySpec) bool {
	some := func(peers []networkingv1.NetworkPolicyPeer) bool {
		return slices.ContainsFunc(peers, func(p networkingv1.NetworkPolicyPeer) bool { return selectsTopology(p.PodSelector) })
	}
	return selectsTopology(&spec.PodSelector) ||
		slices.ContainsFunc(spec.Ingress, func(r networkingv1.NetworkPolicyIngressRule) bool { return some(r.From) }) ||
		slices.ContainsFunc(spec.Egress, func(r networkingv1.NetworkPolicyEgressRule) bool { return some(r.To) })
}

// podSelectsTopology reports whether affinity or topology spread of a pod select others by their
// zone or region.
func podSelectsTopology(spec *corev1.PodSpec) bool {
	found := slices.ContainsFunc(spec.TopologySpreadConstraints, func(c corev1.TopologySpreadConstraint) bool {
		return selectsTopology(c.LabelSelector) || slices.ContainsFunc(c.MatchLabelKeys, isTopologyLabel)
	})
	EachAffinityTerm(spec.Affinity, func(term *corev1.PodAffinityTerm) {
		found = found || selectsTopology(term.LabelSelector) ||
			slices.ContainsFunc(term.MatchLabelKeys, isTopologyLabel) || slices.ContainsFunc(term.MismatchLabelKeys, isTopologyLabel)
	})
	return found
}
