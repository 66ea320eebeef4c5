package translate

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
)

// Enforced is what an operator puts into every host pod, whatever the tenant asks for. It
// counts when a host pod is created. A pod that exists keeps what it got then.
type Enforced struct {
	// Tolerations are added to those of the tenant.
	Tolerations []corev1.Toleration
	// RuntimeClassName replaces the tenant's. Empty leaves it.
	RuntimeClassName string
	// PriorityClassName is the priority class on the host. Empty means the host's default.
	PriorityClassName string
}

// apply writes the fields into the spec of a new host pod.
func (e Enforced) apply(spec *corev1.PodSpec) {
	for _, toleration := range e.Tolerations {
		has := func(t corev1.Toleration) bool { return equality.Semantic.DeepEqual(t, toleration) }
		if !slices.ContainsFunc(spec.Tolerations, has) {
			spec.Tolerations = append(spec.Tolerations, toleration)
		}
	}
	if e.RuntimeClassName != "" {
		spec.RuntimeClassName = &e.RuntimeClassName
	}
	if e.PriorityClassName != "" {
		spec.PriorityClassName = e.PriorityClassName
	}
}
