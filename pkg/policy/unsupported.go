package policy

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/pkg/translate"
)

// unsupported returns the rule about what the host cannot have. The pod would stay pending for
// ever. resourceClaims specifies whether the host has the claims of pods.
func unsupported(resourceClaims bool) podRule {
	return func(_ *metav1.ObjectMeta, spec *corev1.PodSpec) []Violation {
		var violations []Violation
		for _, field := range translate.UnsupportedFields(spec, resourceClaims) {
			violations = append(violations, Violation{Field: field.Path, Detail: field.Detail, Setting: field.Setting})
		}
		return violations
	}
}
