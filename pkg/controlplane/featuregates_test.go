package controlplane

import (
	"testing"

	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/component-base/featuregate"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
)

// TestFeatureGates compares the gates that settings may have with those of Kubernetes.
func TestFeatureGates(t *testing.T) {
	t.Parallel()
	all := utilfeature.DefaultMutableFeatureGate.GetAll()
	for _, gate := range v1alpha1.FeatureGates() {
		spec, exists := all[featuregate.Feature(gate)]
		if !exists || spec.LockToDefault {
			t.Errorf("the gate %s cannot be set: exists %t, locked %t", gate, exists, spec.LockToDefault)
		}
	}
}
