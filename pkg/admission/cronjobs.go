package admission

import (
	"context"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/utils/ptr"

	"github.com/sublet-dev/sublet/pkg/policy"
)

const (
	// lastScheduleYear is the first year that a last run must not have. Upstream's controller finds no 29 February in the
	// five years before 2104, and would then look for one since the year 1, without an end.
	lastScheduleYear = 2090
	// maxDeadline is the maximum startingDeadlineSeconds, a century. Upstream computes in nanoseconds, so that three
	// centuries before now are a time in the future.
	maxDeadline = 100 * 365 * 24 * 60 * 60
)

// checkScheduleTime denies a last run of a CronJob before 1970 or in the far future, and a deadline of centuries. Upstream's
// controller counts all runs since then, and a worker would count for hours, or for ever.
func checkScheduleTime(_ context.Context, a admission.Attributes, o admission.ObjectInterfaces) (Decision, error) {
	if a.GetSubresource() != "status" {
		return checkDeadline(a, o)
	}
	if a.GetOperation() != admission.Update {
		return Decision{}, nil
	}
	job, err := toV1[batchv1.CronJob](a.GetObject(), o)
	if err != nil || job.Status.LastScheduleTime == nil {
		return Decision{}, err
	}
	last := job.Status.LastScheduleTime.UTC()
	if last.Unix() >= 0 && last.Year() < lastScheduleYear {
		return Decision{}, nil
	}
	return Decision{Violations: []policy.Violation{{
		Field: "status.lastScheduleTime", Value: last.Format(time.RFC3339),
		Detail: "no CronJob has run before 1970 or in the far future, and all runs since then would be counted",
	}}}, nil
}

// checkDeadline denies a deadline of centuries. An update may leave it as it is.
func checkDeadline(a admission.Attributes, o admission.ObjectInterfaces) (Decision, error) {
	job, old, err := writtenObject[batchv1.CronJob](a, o)
	if err != nil || job == nil || deadlineOf(job) <= maxDeadline || old != nil && deadlineOf(old) == deadlineOf(job) {
		return Decision{}, err
	}
	return Decision{Violations: []policy.Violation{{
		Field: "spec.startingDeadlineSeconds", Value: strconv.FormatInt(deadlineOf(job), 10),
		Detail: "the controller of CronJobs computes in nanoseconds; use at most a century, " + strconv.Itoa(maxDeadline),
	}}}, nil
}

// deadlineOf returns how many seconds late a run may start, 0 without a limit.
func deadlineOf(job *batchv1.CronJob) int64 {
	return ptr.Deref(job.Spec.StartingDeadlineSeconds, 0)
}
