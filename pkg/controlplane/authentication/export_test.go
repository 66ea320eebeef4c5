package authentication

import (
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
)

// Check returns all that parse finds wrong with settings.
func Check(settings v1alpha1.Authentication, own []string) field.ErrorList {
	_, problems := parse(settings, own)
	return problems
}
