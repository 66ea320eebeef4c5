package translate

import (
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// UnsupportedError is why a virtual object cannot have a host copy as it is. It is for the
// tenant. To try again without a change is of no use.
type UnsupportedError struct {
	// Problems are the fields in question, each with what to do.
	Problems []error
}

// Error names all problems.
func (e *UnsupportedError) Error() string {
	return "it cannot run on the host: " + errors.Join(e.Problems...).Error()
}

// UnsupportedField is a field of a pod that the host cannot have.
type UnsupportedField struct {
	// Path is the path of the field, as in spec.resourceClaims.
	Path string
	// Detail is why, and what to do, without a full stop.
	Detail string
}

// UnsupportedFields returns all fields of a pod that the host cannot have.
func UnsupportedFields(spec *corev1.PodSpec) []UnsupportedField {
	var fields []UnsupportedField
	if len(spec.ResourceClaims) > 0 {
		fields = append(fields, UnsupportedField{"spec.resourceClaims", "resource claims are not synced to the host; ask for devices as extended resources in resources.limits"})
	}
	if spec.SchedulingGroup != nil {
		fields = append(fields, UnsupportedField{"spec.schedulingGroup", "pod groups are not synced to the host; remove the field"})
	}
	return fields
}

// checkSupported returns an [UnsupportedError] with all fields of a pod that the host
// cannot have.
func checkSupported(spec *corev1.PodSpec) error {
	var problems []error
	for _, field := range UnsupportedFields(spec) {
		problems = append(problems, fmt.Errorf("%s: %s", field.Path, field.Detail))
	}
	if len(problems) == 0 {
		return nil
	}
	return &UnsupportedError{problems}
}
