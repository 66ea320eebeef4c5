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
	// readinessGatesNotReady is the reason of a kubelet for a pod with a closed readiness gate.
	readinessGatesNotReady = "ReadinessGatesNotReady"
	// readinessNotSeen is the message of a pod whose gates have opened a moment ago.
	readinessNotSeen = "the readiness gates are open, and the host has not made the pod ready yet"
)

// syncReadinessGate opens and closes the readiness gate of a host pod with the gates of its
// virtual pod. A host pod that is older than its gate has none, and stays without.
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

// closedGates returns what is wrong with each closed readiness gate, in the words of a
// kubelet, and when one has changed last.
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

// applyReadinessGates sets a pod whose readiness gates are not all open to not ready, in
// the words of a kubelet. The gate of the host pod follows those of the virtual pod, so the
// tenant reads their messages in place of its own.
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
