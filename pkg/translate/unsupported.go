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
	// Setting is the path of the setting that changes it, empty if there is none.
	Setting string
}

// UnsupportedFields returns all fields of a pod that the host cannot have. resourceClaims
// specifies whether the host has the claims of pods.
func UnsupportedFields(spec *corev1.PodSpec, resourceClaims bool) []UnsupportedField {
	var fields []UnsupportedField
	if len(spec.ResourceClaims) > 0 && !resourceClaims {
		fields = append(fields, UnsupportedField{
			Path: "spec.resourceClaims", Setting: "sync.toHost.resourceClaims.enabled",
			Detail: "resource claims are not synced to the host; ask for devices as extended resources in resources.limits",
		})
	}
	if spec.SchedulingGroup != nil {
		fields = append(fields, UnsupportedField{Path: "spec.schedulingGroup", Detail: "pod groups are not synced to the host; remove the field"})
	}
	return fields
}

// checkSupported returns an [UnsupportedError] with all fields of a pod that the host
// cannot have.
func checkSupported(spec *corev1.PodSpec, resourceClaims bool) error {
	var problems []error
	for _, field := range UnsupportedFields(spec, resourceClaims) {
		problems = append(problems, fmt.Errorf("%s: %s", field.Path, field.Detail))
	}
	if len(problems) == 0 {
		return nil
	}
	return &UnsupportedError{problems}
}
