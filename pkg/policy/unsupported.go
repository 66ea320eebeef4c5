package policy

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/pkg/translate"
)

// unsupported returns what the host cannot have, whatever the settings. The pod would stay
// pending for ever.
func unsupported(_ *metav1.ObjectMeta, spec *corev1.PodSpec) []Violation {
	var violations []Violation
	for _, field := range translate.UnsupportedFields(spec) {
		violations = append(violations, Violation{Field: field.Path, Detail: field.Detail})
	}
	return violations
}
