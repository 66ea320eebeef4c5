package main

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
)

const limitRange = "$v.policies.limitRange."

// resourceConditions returns the conditions of requests that are more than the limit.
func resourceConditions() map[string]string {
	all := map[string]string{}
	for _, pod := range v1alpha1.OwnPods() {
		for _, name := range v1alpha1.LimitedResources() {
			all["request-over-limit-of-"+pod.Name+"-"+string(name)] = isMore("$v."+pod.Path+".requests", "$v."+pod.Path+".limits", name)
		}
	}
	return all
}

// quotaConditions returns the conditions of the combinations of the quota.
func quotaConditions() map[string]string {
	const has, scopes = `(include "sublet.hasResourceQuota" $)`, "$v.policies.resourceQuota.scopes"
	return map[string]string{
		"quota-best-effort-twice":    "and " + has + ` (has "BestEffort" ` + scopes + `) (has "NotBestEffort" ` + scopes + ")",
		"quota-best-effort-computes": "and " + has + ` (has "BestEffort" ` + scopes + `) (include "sublet.quotaComputes" $)`,
		"quota-without-defaults":     "and " + has + " (not " + hasLimitRange + `) (include "sublet.quotaNeedsDefaults" $)`,
	}
}

// limitRangeConditions returns the conditions of the combinations of the limit range.
func limitRangeConditions() map[string]string {
	all := map[string]string{}
	for _, pod := range v1alpha1.OwnPods() {
		has := hasLimitRange
		if pod.Name == "dns" {
			has += ` (include "sublet.dnsPods" $)`
		}
		requests, limits := "$v."+pod.Path+".requests", "$v."+pod.Path+".limits"
		all["limit-range-max-of-"+pod.Name] = "and " + has + " " + areMore([2]string{requests, limitRange + "max"}, [2]string{limits, limitRange + "max"})
		all["limit-range-min-of-"+pod.Name] = "and " + has + " " + areMore([2]string{limitRange + "min", requests}, [2]string{limitRange + "min", limits})
		all["limit-range-default-of-"+pod.Name] = "and " + has + " " + areMore([2]string{requests, limitRange + "default " + limits})
	}
	for _, pair := range v1alpha1.LimitRangeOrder() {
		all["limit-range-"+pair[0]+"-over-"+pair[1]] = "and " + hasLimitRange + " " + areMore([2]string{limitRange + pair[0], limitRange + pair[1]})
	}
	return all
}

// hasLimitRange is the condition that the chart creates a LimitRange.
const hasLimitRange = `(include "sublet.hasLimitRange" $)`

// areMore returns the condition that in one of the pairs, the first map has more of a resource than the second.
func areMore(pairs ...[2]string) string {
	var parts []string
	for _, pair := range pairs {
		for _, name := range v1alpha1.LimitedResources() {
			parts = append(parts, "("+isMore(pair[0], pair[1], name)+")")
		}
	}
	return "(or " + strings.Join(parts, " ") + ")"
}

// isMore returns the condition that one map of resources has more of a resource than the other. A third map after the
// other has resources that are not compared.
func isMore(one, other string, name corev1.ResourceName) string {
	return fmt.Sprintf(`include "sublet.hasMore" (list %q %s %s)`, name, one, other)
}
