package policy_test

import (
	"testing"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/policy"
)

// TestOutcomes checks that each outcome has a reason, whatever is switched off.
func TestOutcomes(t *testing.T) {
	t.Parallel()
	const setting = "sync.toHost.ingresses"
	for enabled, want := range map[bool]policy.Outcome{true: policy.Synced, false: policy.Limited} {
		seen := 0
		for _, o := range policy.Outcomes(v1alpha1.Default(v1alpha1.Kind{Setting: setting, Enabled: enabled})) {
			if o.Reason == "" {
				t.Errorf("%s is %s, and nobody says why", o.Resource, o.Outcome)
			}
			if o.Resource.Resource != "ingresses" {
				continue
			}
			seen++
			if o.Outcome != want || enabled && o.Reason != setting {
				t.Errorf("with the kind on (%t), Ingresses are %s: %s", enabled, o.Outcome, o.Reason)
			}
		}
		if seen != 1 {
			t.Errorf("Ingresses have %d outcomes", seen)
		}
	}
}

// TestServedReasons checks that a resource has a reason as well when a setting gives it its effect.
func TestServedReasons(t *testing.T) {
	t.Parallel()
	settings := v1alpha1.Default()
	settings.Policies.Pods.RuntimeHandlers = map[string]string{"kata": "host-kata"}
	settings.ControlPlane.Advanced.VirtualScheduler.Enabled = true
	for _, o := range policy.Outcomes(settings) {
		if o.Reason == "" {
			t.Errorf("%s is %s, and nobody says why", o.Resource, o.Outcome)
		}
	}
}
