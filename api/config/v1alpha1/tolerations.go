package v1alpha1

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Tolerations returns the tolerations that each pod of the tenant gets on the host.
func (p Pods) Tolerations() []corev1.Toleration {
	var tolerations []corev1.Toleration
	for _, text := range p.EnforceTolerations {
		tolerations = append(tolerations, ParseToleration(text))
	}
	return tolerations
}

// ParseToleration returns the toleration of a taint that is written as key, key=value,
// key:Effect or key=value:Effect. Without a value it tolerates every value, and without an
// effect every effect. The text must have the format "toleration".
func ParseToleration(text string) corev1.Toleration {
	taint, effect, _ := strings.Cut(text, ":")
	key, value, hasValue := strings.Cut(taint, "=")
	toleration := corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffect(effect)}
	if hasValue {
		toleration.Operator, toleration.Value = corev1.TolerationOpEqual, value
	}
	return toleration
}
