package policy

import (
	"fmt"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// gracePeriodSetting is the key of the longest grace period.
const gracePeriodSetting = "policies.pods.maxGracePeriodSeconds"

// gracePeriods returns the rule about grace periods of a pod and of its probes. A drain of
// the host's node waits for them.
func gracePeriods(limit int64) podRule {
	return func(_ *metav1.ObjectMeta, spec *corev1.PodSpec) []Violation {
		var violations []Violation
		check := func(path string, seconds *int64) {
			if seconds != nil {
				violations = append(violations, gracePeriod(path+".terminationGracePeriodSeconds", *seconds, limit)...)
			}
		}
		check("spec", spec.TerminationGracePeriodSeconds)
		for _, container := range containers(spec) {
			for _, probe := range []struct {
				name  string
				probe *corev1.Probe
			}{{"livenessProbe", container.LivenessProbe}, {"startupProbe", container.StartupProbe}} {
				if probe.probe != nil {
					check(container.path+"."+probe.name, probe.probe.TerminationGracePeriodSeconds)
				}
			}
		}
		return violations
	}
}

// gracePeriod returns what is wrong with a grace period in seconds.
func gracePeriod(field string, seconds, limit int64) []Violation {
	if limit == 0 || seconds <= limit {
		return nil
	}
	return []Violation{{
		Field: field, Value: strconv.FormatInt(seconds, 10),
		Detail:  fmt.Sprintf("must be at most %d seconds", limit),
		Setting: gracePeriodSetting,
	}}
}
