package translate

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/api/labels"
)

const (
	// readinessGatesNotReady is the reason that a kubelet sets on a pod with a closed readiness
	// gate.
	readinessGatesNotReady = "ReadinessGatesNotReady"
	// readinessNotSeen is the message of a pod whose gates are open, until the host pod is ready.
	readinessNotSeen = "the readiness gates are open, and the host has not made the pod ready yet"
)

// syncReadinessGate sets the condition of the readiness gate of a host pod: it is open if all gates
// of the virtual pod are. Host pods of earlier versions have no such gate.
func syncReadinessGate(virtual, host *corev1.Pod) {
	ours := func(gate corev1.PodReadinessGate) bool { return gate.ConditionType == labels.ReadinessGates }
	if !slices.ContainsFunc(host.Spec.ReadinessGates, ours) {
		return
	}
	want := corev1.PodCondition{Type: labels.ReadinessGates, Status: corev1.ConditionTrue}
	closed, changed := closedGates(virtual.Spec.ReadinessGates, virtual.Status.Conditions)
	if len(closed) > 0 {
		want.Status = corev1.ConditionFalse
	}
	want.LastTransitionTime = changed
	have := findCondition(host.Status.Conditions, labels.ReadinessGates)
	switch {
	case have == nil && len(closed) > 0:
		// A gate without a condition is closed.
	case have == nil:
		host.Status.Conditions = append(slices.Clone(host.Status.Conditions), want)
	case have.Status != want.Status:
		host.Status.Conditions = slices.Clone(host.Status.Conditions)
		*findCondition(host.Status.Conditions, labels.ReadinessGates) = want
	}
}

// closedGates returns a message for each closed readiness gate, as a kubelet writes it, and the time
// of the last change of a gate.
func closedGates(gates []corev1.PodReadinessGate, conditions []corev1.PodCondition) (closed []string, changed metav1.Time) {
	for _, gate := range gates {
		condition := findCondition(conditions, gate.ConditionType)
		if condition == nil {
			closed = append(closed, fmt.Sprintf("corresponding condition of pod readiness gate %q does not exist.", gate.ConditionType))
			continue
		}
		if condition.Status != corev1.ConditionTrue {
			closed = append(closed, fmt.Sprintf("the status of pod readiness gate %q is not \"True\", but %v", gate.ConditionType, condition.Status))
		}
		if changed.Before(&condition.LastTransitionTime) {
			changed = condition.LastTransitionTime
		}
	}
	return closed, changed
}

// applyReadinessGates sets the condition Ready of a virtual pod to false while one of its readiness
// gates is closed. The message is that of a kubelet. It also replaces messages about the
// gate of the host pod, which the tenant does not know.
func applyReadinessGates(gates []corev1.PodReadinessGate, status *corev1.PodStatus) {
	ready := findCondition(status.Conditions, corev1.PodReady)
	if len(gates) == 0 || ready == nil || ready.Status != corev1.ConditionTrue && ready.Reason != readinessGatesNotReady {
		return
	}
	closed, changed := closedGates(gates, status.Conditions)
	switch {
	case len(closed) > 0:
		ready.Status = corev1.ConditionFalse
		ready.Reason = readinessGatesNotReady
		ready.Message = strings.Join(closed, ", ")
	case ready.Status == corev1.ConditionTrue && ready.LastTransitionTime.Before(&changed):
		ready.LastTransitionTime = changed
	case ready.Status != corev1.ConditionTrue && strings.Contains(ready.Message, labels.ReadinessGates):
		ready.Message = readinessNotSeen
	}
}
