package translate

import (
	"cmp"
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
	// NamedClass is the priority class of the host that the pod itself names. It counts if
	// PriorityClassName is empty. Empty if it names none.
	NamedClass string
	// PriorityClasses are the priority classes on the host by the priority of the pod, sorted
	// by From. They count if neither PriorityClassName nor NamedClass is set.
	PriorityClasses []PriorityClass
}

// PriorityClass is a priority class of the host for pods from a priority on.
type PriorityClass struct {
	From int32
	Name string
}

// IgnoresPriority reports whether a pod has a priority that does not reach the host.
func (e Enforced) IgnoresPriority(virtual *corev1.Pod) bool {
	return e.PriorityClassName == "" && len(e.PriorityClasses) == 0 && virtual.Spec.Priority != nil && *virtual.Spec.Priority > 0
}

// priorityClass returns the priority class of a new host pod, empty for the default of the
// host. A pod without a priority has 0, as in every cluster.
func (e Enforced) priorityClass(virtual *corev1.Pod) string {
	if class := cmp.Or(e.PriorityClassName, e.NamedClass); class != "" {
		return class
	}
	var priority int32
	if virtual.Spec.Priority != nil {
		priority = *virtual.Spec.Priority
	}
	name := ""
	for _, class := range e.PriorityClasses {
		if priority >= class.From {
			name = class.Name
		}
	}
	return name
}

// apply writes the fields into the spec of a new host pod.
func (e Enforced) apply(virtual *corev1.Pod, spec *corev1.PodSpec) {
	for _, toleration := range e.Tolerations {
		has := func(t corev1.Toleration) bool { return equality.Semantic.DeepEqual(t, toleration) }
		if !slices.ContainsFunc(spec.Tolerations, has) {
			spec.Tolerations = append(spec.Tolerations, toleration)
		}
	}
	if e.RuntimeClassName != "" {
		spec.RuntimeClassName = &e.RuntimeClassName
	}
	spec.PriorityClassName = e.priorityClass(virtual)
}
