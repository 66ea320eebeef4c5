package translate

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
)

// Enforced has the fields that an operator sets in every host pod, whatever the tenant requests.
// They are set when a host pod is created, and never changed.
type Enforced struct {
	// Tolerations are added to those of the tenant.
	Tolerations []corev1.Toleration
	// RuntimeClassName replaces that of the tenant. Empty keeps the tenant's.
	RuntimeClassName string
	// PriorityClassName is the priority class on the host. Empty means the host's default.
	PriorityClassName string
	// NamedClass is the priority class of the host that the pod itself names, empty for none. It
	// is used if PriorityClassName is empty.
	NamedClass string
	// PriorityClasses maps the priority of the pod to a priority class of the host. It is sorted
	// by From, and used if neither PriorityClassName nor NamedClass is set.
	PriorityClasses []PriorityClass
}

// PriorityClass is the priority class of the host for pods with at least the priority From. Pods below
// the lowest one get that, as the default of the host may be above all of them.
type PriorityClass struct {
	From int32
	Name string
}

// IgnoresPriority reports whether a pod has a priority that has no effect on the host.
func (e Enforced) IgnoresPriority(virtual *corev1.Pod) bool {
	return e.PriorityClassName == "" && len(e.PriorityClasses) == 0 && virtual.Spec.Priority != nil && *virtual.Spec.Priority > 0
}

// IgnoresPreemptionPolicy reports whether a pod must not preempt others, and its priority class on the
// host makes it do so. An API server accepts no other policy than that of the class.
func IgnoresPreemptionPolicy(virtual, host *corev1.Pod) bool {
	preempts := func(pod *corev1.Pod) bool {
		return pod.Spec.PreemptionPolicy == nil || *pod.Spec.PreemptionPolicy != corev1.PreemptNever
	}
	return host.Spec.PriorityClassName != "" && !preempts(virtual) && preempts(host)
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
	for i, class := range e.PriorityClasses {
		if i == 0 || priority >= class.From {
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
