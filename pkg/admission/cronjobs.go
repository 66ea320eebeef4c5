package admission

import (
	"context"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apiserver/pkg/admission"

	"github.com/sublet-dev/sublet/pkg/policy"
)

// checkScheduleTime denies a last run of a CronJob before 1970. Upstream's controller counts all runs since
// then, and a worker would count for hours.
func checkScheduleTime(_ context.Context, a admission.Attributes, o admission.ObjectInterfaces) (Decision, error) {
	if a.GetSubresource() != "status" || a.GetOperation() != admission.Update {
		return Decision{}, nil
	}
	job, err := toV1[batchv1.CronJob](a.GetObject(), o)
	if err != nil || job.Status.LastScheduleTime == nil || job.Status.LastScheduleTime.Unix() >= 0 {
		return Decision{}, err
	}
	return Decision{Violations: []policy.Violation{{
		Field: "status.lastScheduleTime", Value: job.Status.LastScheduleTime.UTC().Format(time.RFC3339),
		Detail: "no CronJob has run before 1970, and all runs since then would be counted",
	}}}, nil
}
