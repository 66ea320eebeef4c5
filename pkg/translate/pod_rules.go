package translate

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// HostRules returns a digest of what the operator's settings say about the place of a host
// pod, empty for nothing. They count when a host pod is created, and the host lets nobody
// change them later. One that waits for a node under other rules may wait for ever, or get to
// a node that the tenant does not see. enforced has no class that the pod itself names: such
// a class comes and goes by itself.
func HostRules(virtual *corev1.Pod, nodes map[string]string, schedulers []string, enforced Enforced) string {
	rules := map[string]any{}
	set := func(name string, value any, has bool) {
		if has {
			rules[name] = value
		}
	}
	set("nodes", nodes, len(nodes) > 0)
	set("scheduler", virtual.Spec.SchedulerName, slices.Contains(schedulers, virtual.Spec.SchedulerName))
	set("tolerations", enforced.Tolerations, len(enforced.Tolerations) > 0)
	set("runtimeClass", enforced.RuntimeClassName, enforced.RuntimeClassName != "")
	class := enforced.priorityClass(virtual)
	set("priorityClass", class, class != "")
	if len(rules) == 0 {
		return ""
	}
	return digest(rules)
}
