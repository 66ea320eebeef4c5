package translate

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestClaimClass(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		reason      string
		annotations map[string]string
		spec        *string
		class       string
		named       bool
	}{
		{reason: "left to the cluster"},
		{reason: "the field", spec: new("fast"), class: "fast", named: true},
		{reason: "the empty class is a class", spec: new(""), named: true},
		{reason: "the annotation wins", annotations: map[string]string{corev1.BetaStorageClassAnnotation: "slow"}, spec: new("fast"), class: "slow", named: true},
	} {
		class, named := ClaimClass(test.annotations, &corev1.PersistentVolumeClaimSpec{StorageClassName: test.spec})
		if class != test.class || named != test.named {
			t.Errorf("%s: got %q, %t", test.reason, class, named)
		}
	}
}
