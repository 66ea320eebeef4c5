package translate

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/sublet-dev/sublet/api/labels"
)

// isHostCondition reports whether kubelet and scheduler of the host write a condition and
// remove it.
func isHostCondition(condition corev1.PodConditionType) bool {
	switch condition {
	case corev1.PodScheduled, corev1.PodInitialized, corev1.ContainersReady, corev1.PodReady,
		corev1.PodReadyToStartContainers, corev1.PodResizePending, corev1.PodResizeInProgress,
		corev1.AllContainersRestarting:
		return true
	}
	return false
}

// mergeConditions returns the host's conditions and, after them, the virtual ones that the
// host does not write. The condition of a readiness gate is the tenant's alone.
func mergeConditions(host, virtual []corev1.PodCondition, gates []corev1.PodReadinessGate) []corev1.PodCondition {
	var merged []corev1.PodCondition
	for _, condition := range host {
		if isGate(gates, condition.Type) || condition.Type == labels.ReadinessGates {
			continue
		}
		if old := findCondition(virtual, condition.Type); condition.Type == corev1.PodScheduled && old != nil && equalCondition(old, &condition) {
			// Binding the virtual pod has written it already; when, to the second, is
			// not worth another write.
			condition.LastTransitionTime = old.LastTransitionTime
		}
		merged = append(merged, condition)
	}
	for _, condition := range virtual {
		if isGate(gates, condition.Type) || !isHostCondition(condition.Type) && findCondition(merged, condition.Type) == nil {
			merged = append(merged, condition)
		}
	}
	return merged
}

// equalCondition reports whether a and b have the same status, reason and message.
func equalCondition(a, b *corev1.PodCondition) bool {
	return a.Status == b.Status && a.Reason == b.Reason && a.Message == b.Message
}

// findCondition returns the condition of a type, nil if there is none.
func findCondition(conditions []corev1.PodCondition, t corev1.PodConditionType) *corev1.PodCondition {
	for i := range conditions {
		if conditions[i].Type == t {
			return &conditions[i]
		}
	}
	return nil
}

// isGate reports whether a condition is that of a readiness gate.
func isGate(gates []corev1.PodReadinessGate, t corev1.PodConditionType) bool {
	return slices.ContainsFunc(gates, func(g corev1.PodReadinessGate) bool { return g.ConditionType == t })
}

// recordedConditions returns the types of conditions that came from the host, by the record
// on the virtual pod.
func recordedConditions(virtual *corev1.Pod) []string {
	text := virtual.Annotations[labels.HostConditions]
	if text == "" {
		return nil
	}
	return strings.Split(text, ",")
}

// withoutConditions returns the conditions without those of the types.
func withoutConditions(conditions []corev1.PodCondition, types []string) []corev1.PodCondition {
	return slices.DeleteFunc(slices.Clone(conditions), func(c corev1.PodCondition) bool { return slices.Contains(types, string(c.Type)) })
}

// recordConditions records which conditions of the virtual pod come from the host. It leaves
// out those of Kubernetes: the types tell who writes them, and who disrupts a pod ends it.
// A type stays in the record until the virtual pod has no such condition any more. So the
// record may be written before the status, and either write may fail.
func recordConditions(virtual *corev1.Pod, host []corev1.PodCondition, recorded []string) {
	var types []string
	for _, c := range host {
		if !isHostCondition(c.Type) && c.Type != corev1.DisruptionTarget && c.Type != labels.ReadinessGates &&
			!isGate(virtual.Spec.ReadinessGates, c.Type) {
			types = append(types, string(c.Type))
		}
	}
	for _, c := range virtual.Status.Conditions {
		if slices.Contains(recorded, string(c.Type)) {
			types = append(types, string(c.Type))
		}
	}
	slices.Sort(types)
	text := strings.Join(slices.Compact(types), ",")
	switch text {
	case virtual.Annotations[labels.HostConditions]:
	case "":
		RemoveAnnotation(virtual, labels.HostConditions)
	default:
		SetAnnotation(virtual, labels.HostConditions, text)
	}
}
