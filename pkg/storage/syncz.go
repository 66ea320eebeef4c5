package storage

import (
	"context"
	"fmt"
	"slices"

	"github.com/sublet-dev/sublet/api/syncz"
)

// checks returns the health of the store: whether objects can be created, and whether
// it has a leader. It is empty before the store answers.
func (e *Etcd) checks() []syncz.Check {
	if !e.started.Load() {
		return nil
	}
	usage := e.usage()
	alarms, _ := e.alarms(context.Background()) //nolint:forbidigo // it reads memory and cannot fail
	check := checkSize(usage, slices.Contains(alarms, AlarmNoSpace))
	if free, err := freeSpace(e.Dir); err == nil {
		check.Details = append(check.Details, fmt.Sprintf("volume: %d MiB free", free/mib))
		if check.Healthy && free < minFree {
			check.Healthy = false
			check.Message = "The volume of the store is full, so that nothing can be created. Delete objects, or ask the operator for a larger volume."
		}
	}
	return []syncz.Check{check, e.checkMembers()}
}

// checkSize returns the health of a store of the given size.
func checkSize(usage Usage, alarmed bool) syncz.Check {
	check := syncz.Check{Name: "store size", Details: []string{
		fmt.Sprintf("file: %d MiB, in use: %d MiB, quota: %d MiB", usage.Size/mib, usage.InUse/mib, usage.Quota/mib),
	}}
	switch {
	case alarmed:
		check.Message = "The quota of the store is exceeded, so that only deletes succeed. Delete objects; writes resume by themselves."
	case usage.InUse >= usage.Quota/100*createsUntil:
		check.Message = fmt.Sprintf("More than %d %% of the quota of the store are in use, so that nothing can be created. Delete objects.", createsUntil)
	case usage.InUse >= usage.Quota/100*relievedAt:
		check.Healthy = true
		check.Message = fmt.Sprintf("More than %d %% of the quota of the store are in use. From %d %% on nothing can be created.", relievedAt, createsUntil)
	default:
		check.Healthy = true
		check.Message = fmt.Sprintf("Less than %d %% of the quota of the store are in use.", relievedAt)
	}
	return check
}
