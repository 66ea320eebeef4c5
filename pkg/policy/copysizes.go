package policy

import (
	"strconv"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/pkg/translate"
)

// What one object may have of what makes its copy many times larger than itself, or costs the square of its number.
const (
	// maxNamespaceSelectors limits selectors of namespaces. A copy names all namespaces that each of them selects.
	maxNamespaceSelectors = 100
	// maxPolicyRules limits the rules of a NetworkPolicy. The copy of a rule of two bytes has three rules.
	maxPolicyRules = 1000
	// maxPolicyPeers limits the peers of a NetworkPolicy. Each block gets the exceptions of the operator.
	maxPolicyPeers = 10000
	// maxTolerations limits the tolerations of a pod. Each update compares all of them with all others.
	maxTolerations = 1000
)

// policySize has the numbers of a NetworkPolicy that are limited.
type policySize struct{ rules, peers, selectors int }

// EvaluateNetworkPolicySize returns what a NetworkPolicy has too many of. An update may leave it as it is. before is nil for
// a create.
func EvaluateNetworkPolicySize(before, after *networkingv1.NetworkPolicy) []Violation {
	var earlier policySize
	if before != nil {
		earlier = sizeOfPolicy(before)
	}
	size := sizeOfPolicy(after)
	var violations []Violation
	for _, count := range []struct {
		what              string
		now, before, most int
	}{
		{"rules", size.rules, earlier.rules, maxPolicyRules},
		{"peers", size.peers, earlier.peers, maxPolicyPeers},
		{"namespaceSelectors", size.selectors, earlier.selectors, maxNamespaceSelectors},
	} {
		if count.now > max(count.most, count.before) {
			violations = append(violations, tooMany("spec", count.what, count.most))
		}
	}
	return violations
}

// tooMany returns the violation of a field with more of something than the copy may have. The value is the same for each
// larger number, so that an update may leave an older object as it is.
func tooMany(field, what string, most int) Violation {
	return Violation{
		Field: field, Value: "more than " + strconv.Itoa(most) + " " + what,
		Detail: "its copy on the host would take too much memory or time; use fewer, in several objects",
	}
}

// sizeOfPolicy counts what is limited.
func sizeOfPolicy(policy *networkingv1.NetworkPolicy) policySize {
	size := policySize{rules: len(policy.Spec.Ingress) + len(policy.Spec.Egress)}
	add := func(peers []networkingv1.NetworkPolicyPeer) {
		size.peers += len(peers)
		for _, peer := range peers {
			if translate.SelectsSome(peer.NamespaceSelector) {
				size.selectors++
			}
		}
	}
	for _, rule := range policy.Spec.Ingress {
		add(rule.From)
	}
	for _, rule := range policy.Spec.Egress {
		add(rule.To)
	}
	return size
}

// podSizes limits the tolerations of a pod, and the selectors of namespaces in its affinity.
func podSizes(_ *metav1.ObjectMeta, spec *corev1.PodSpec) []Violation {
	var violations []Violation
	if len(spec.Tolerations) > maxTolerations {
		violations = append(violations, tooMany("spec.tolerations", "tolerations", maxTolerations))
	}
	if countTermSelectors(spec.Affinity) > maxNamespaceSelectors {
		violations = append(violations, tooMany("spec.affinity", "namespaceSelectors", maxNamespaceSelectors))
	}
	return violations
}

// countTermSelectors returns the number of terms with a selector of namespaces.
func countTermSelectors(affinity *corev1.Affinity) (count int) {
	translate.EachAffinityTerm(affinity, func(term *corev1.PodAffinityTerm) {
		if translate.SelectsSome(term.NamespaceSelector) {
			count++
		}
	})
	return count
}
