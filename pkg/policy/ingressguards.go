package policy

import (
	"maps"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
)

// checkGuards denies annotations that keep requests out and need a rule for their whole key, if
// a prefix alone matches. A controller would serve the Ingress to everybody without them. One
// that no rule matches stays behind with a warning, as without settings.
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

// isGuard reports whether an annotation that leads elsewhere may keep requests out.
func isGuard(key string) bool {
	_, name, _ := strings.Cut(strings.ToLower(key), "/")
	return leadsElsewhere(key) && (strings.Contains(name, "auth-") || strings.HasSuffix(name, ".options") ||
		slices.Contains([]string{"plugins", "policies", "jwt-key"}, name))
}
