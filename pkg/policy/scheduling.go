package policy

import (
	"cmp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Settings of what a pod asks of nodes.
const (
	tolerationsSetting    = "policies.pods.tolerations"
	runtimeClassesSetting = "policies.pods.runtimeClasses"
)

// tolerations returns the rule about taints that pods tolerate.
func tolerations(allowed []string) podRule {
	return func(_ *metav1.ObjectMeta, spec *corev1.PodSpec) []Violation {
		var violations []Violation
		for i, toleration := range spec.Tolerations {
			if mayTolerate(allowed, toleration.Key) {
				continue
			}
			detail := "pods may not tolerate this; allowed: " + orNone(allowed)
			if matchesAny(allowed, toleration.Key) {
				detail += ", which does not include this taint; it must be named in full"
			}
			violations = append(violations, Violation{
				Field: at("spec.tolerations", i), Value: cmp.Or(toleration.Key, "every taint"), Detail: detail, Setting: tolerationsSetting,
			})
		}
		return violations
	}
}

// mayTolerate reports whether pods may tolerate the taints of a key. A prefix does not include the taint
// of nodes that are out of service. Pods that tolerate it keep their volumes attached to a lost node. No
// DaemonSet needs it.
func mayTolerate(allowed []string, key string) bool {
	if key == corev1.TaintNodeOutOfService {
		return slices.Contains(allowed, key) || slices.Contains(allowed, "*")
	}
	return matchesAny(allowed, key)
}

// withDefaultTaints returns the patterns with the taints that the API server lets each pod tolerate
// for some minutes. Without them no pod would be allowed.
func withDefaultTaints(patterns []string) []string {
	all := slices.Clone(patterns)
	for _, key := range []string{corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable} {
		if !matchesAny(all, key) {
			all = append(all, key)
		}
	}
	return all
}

// runtimeClasses returns the rule about runtime classes of the host.
func runtimeClasses(allowed []string) podRule {
	return func(_ *metav1.ObjectMeta, spec *corev1.PodSpec) []Violation {
		if spec.RuntimeClassName == nil || *spec.RuntimeClassName == "" || slices.Contains(allowed, *spec.RuntimeClassName) {
			return nil
		}
		return []Violation{{
			Field: "spec.runtimeClassName", Value: *spec.RuntimeClassName,
			Detail:  "this runtime class of the host is not allowed; allowed: " + orNone(allowed),
			Setting: runtimeClassesSetting,
		}}
	}
}

// matchesAny reports whether a key matches one of the patterns.
func matchesAny(patterns []string, key string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool { return MatchesKey(pattern, key) })
}

// MatchesKey reports whether a key is the pattern, or begins with it if it ends with *. It is
// the format key-pattern of the settings.
func MatchesKey(pattern, key string) bool {
	prefix, isPrefix := strings.CutSuffix(pattern, "*")
	return pattern == key || isPrefix && strings.HasPrefix(key, prefix)
}
