package admission

import (
	"context"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"

	"github.com/sublet-dev/sublet/pkg/policy"
)

// limitsMirror is the ConfigMap of kube-system that shows the limits of the host.
const limitsMirror = "sublet-limits"

// checkLimitsMirror denies every write to the mirror of the limits.
func checkLimitsMirror(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) (Decision, error) {
	if a.GetNamespace() != metav1.NamespaceSystem || nameOf(a) != limitsMirror || a.GetOperation() == admission.Connect {
		return Decision{}, nil
	}
	return Decision{Violations: []policy.Violation{{
		Field: "metadata.name", Value: limitsMirror,
		Detail: "this ConfigMap shows the limits that the host has set, and only the control plane writes it",
	}}}, nil
}

// nameOf returns the name of the object that a request is about. A request that deletes a
// collection, or whose name the API server makes, has it in the object alone.
func nameOf(a admission.Attributes) string {
	if name := a.GetName(); name != "" {
		return name
	}
	for _, object := range []any{a.GetObject(), a.GetOldObject()} {
		if accessor, err := meta.Accessor(object); err == nil && accessor.GetName() != "" {
			return accessor.GetName()
		}
	}
	return ""
}
