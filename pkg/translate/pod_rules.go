package translate

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// HostRules returns a digest of the operator's settings that decide to which node a host pod may
// go, empty for none. They cannot be changed in an existing pod. If they differ from the current
// ones, a pending pod may wait for ever, or get to a node that the tenant does not see.
// enforced.NamedClass must be empty, because a class that the pod names is no setting.
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
