package translate

import (
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// UnsupportedError is returned for a virtual object that cannot have a host copy as it is. Its
// message is for the tenant. A retry without a change does not help.
type UnsupportedError struct {
	// Problems are the fields in question, each with what to do.
	Problems []error
}

// Error names all problems.
func (e *UnsupportedError) Error() string {
	return "it cannot run on the host: " + errors.Join(e.Problems...).Error()
}

// UnsupportedField is a field that is not supported in pods.
type UnsupportedField struct {
	// Path is the path of the field, as in spec.resourceClaims.
	Path string
	// Detail has the reason and what to do, without a full stop.
	Detail string
	// Setting is the path of the setting that enables the field, empty if there is none.
	Setting string
}

// UnsupportedFields returns the unsupported fields that a pod uses. resourceClaims specifies whether
// ResourceClaims are synced.
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

// checkSupported returns an [UnsupportedError] with all unsupported fields that a pod uses.
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
