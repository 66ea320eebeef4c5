package translate

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/sublet-dev/sublet/api/labels"
)

// isHostCondition reports whether a condition is written and removed by the kubelet or the
// scheduler of the host.
func isHostCondition(condition corev1.PodConditionType) bool {
	switch condition {
	case corev1.PodScheduled, corev1.PodInitialized, corev1.ContainersReady, corev1.PodReady,
		corev1.PodReadyToStartContainers, corev1.PodResizePending, corev1.PodResizeInProgress,
		corev1.AllContainersRestarting:
		return true
	}
	return false
}

// mergeConditions returns the host's conditions, followed by the virtual ones that the host does
// not write. Conditions of readiness gates are only taken from the virtual pod.
func mergeConditions(host, virtual []corev1.PodCondition, gates []corev1.PodReadinessGate) []corev1.PodCondition {
	var merged []corev1.PodCondition
	for _, condition := range host {
		if isReadinessGate(gates, condition.Type) || condition.Type == labels.ReadinessGates {
			continue
		}
		if old := findCondition(virtual, condition.Type); condition.Type == corev1.PodScheduled && old != nil && equalCondition(old, &condition) {
			// The binding of the virtual pod has already set the condition. A difference of
			// its time is not worth another write.
			condition.LastTransitionTime = old.LastTransitionTime
		}
		merged = append(merged, condition)
	}
	for _, condition := range virtual {
		if isReadinessGate(gates, condition.Type) || !isHostCondition(condition.Type) && findCondition(merged, condition.Type) == nil {
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

// isReadinessGate reports whether a condition is that of a readiness gate.
func isReadinessGate(gates []corev1.PodReadinessGate, t corev1.PodConditionType) bool {
	return slices.ContainsFunc(gates, func(g corev1.PodReadinessGate) bool { return g.ConditionType == t })
}

// recordedConditions returns the types of the conditions of a virtual pod that came from the
// host, as recorded in its annotation.
func recordedConditions(virtual *corev1.Pod) []string {
	text := virtual.Annotations[labels.HostConditions]
	if text == "" {
		return nil
	}
	return strings.Split(text, ",")
}

// withoutConditions returns the conditions whose types are not in types.
func withoutConditions(conditions []corev1.PodCondition, types []string) []corev1.PodCondition {
	return slices.DeleteFunc(slices.Clone(conditions), func(c corev1.PodCondition) bool { return slices.Contains(types, string(c.Type)) })
}

// recordConditions records in an annotation which conditions of the virtual pod come from the
// host. So they can be removed when the host pod no longer has them. Conditions of Kubernetes itself
// need no record. A type stays recorded until the virtual pod no longer has the condition. So
// the record may be written before the status, and either write may fail.
func recordConditions(virtual *corev1.Pod, host []corev1.PodCondition, recorded []string) {
	var types []string
	for _, c := range host {
		if !isHostCondition(c.Type) && c.Type != corev1.DisruptionTarget && c.Type != labels.ReadinessGates &&
			!isReadinessGate(virtual.Spec.ReadinessGates, c.Type) {
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
