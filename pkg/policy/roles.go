package policy

import rbacv1 "k8s.io/api/rbac/v1"

// MaxPermissions is the maximum number of permissions in the rules of a role. To compare two roles, upstream has all of
// them in memory: at each start for default roles, and in each request that must not escalate.
const MaxPermissions = 100_000

// CountPermissions returns how many permissions rules have: one for each combination of API group, resource, verb and
// name. It is a float, as some kilobytes of rules have more combinations than an integer holds.
func CountPermissions(rules []rbacv1.PolicyRule) float64 {
	count := 0.0
	for _, rule := range rules {
		verbs := float64(len(rule.Verbs))
		count += float64(len(rule.APIGroups)) * float64(len(rule.Resources)) * verbs * float64(max(len(rule.ResourceNames), 1))
		count += float64(len(rule.NonResourceURLs)) * verbs
	}
	return count
}
