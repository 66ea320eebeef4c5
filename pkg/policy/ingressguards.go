package policy

import (
	"maps"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
)

// checkGuards denies a guard that a rule for a prefix matches, but no rule for its whole key. It is
// not copied, and without it a controller would serve the Ingress to everybody. A guard that no
// rule matches is not copied either, with a warning like any other annotation.
func (i *Ingresses) checkGuards(old, ingress *networkingv1.Ingress) []Violation {
	var violations []Violation
	for _, key := range slices.Sorted(maps.Keys(ingress.Annotations)) {
		value := ingress.Annotations[key]
		if stored, found := old.Annotations[key]; found && stored == value || !isGuard(key) || i.annotations.has(key) {
			continue
		}
		if r, found := i.annotations.find(key); found {
			violations = append(violations, Violation{
				Field: "metadata.annotations[" + key + "]", Setting: i.annotations.setting,
				Detail: "the host would serve the Ingress without this protection, as " + r.key + " does not open it: it needs its whole key",
			})
		}
	}
	return violations
}

// isGuard reports whether an annotation may keep requests out, among those that lead elsewhere.
func isGuard(key string) bool {
	name := annotationName(key)
	return leadsElsewhere(key) && (strings.Contains(name, "auth-") || strings.HasSuffix(name, ".options") ||
		slices.Contains([]string{"plugins", "policies", "jwt-key"}, name))
}
