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
	return []syncz.Check{withVolume(checkSize(usage, slices.Contains(alarms, AlarmNoSpace)), e.Dir), e.checkMembers()}
}

// withVolume adds the free space of the volume of a directory to the check of a store.
func withVolume(check syncz.Check, dir string) syncz.Check {
	free, err := freeSpace(dir)
	if err != nil {
		return check
	}
	check.Details = append(check.Details, fmt.Sprintf("volume: %d MiB free", free/mib))
	if check.Healthy && free < minFree {
		check.Healthy = false
		check.Message = "The volume of the store is full, so that nothing can be created. Delete objects, or ask the operator for a larger volume."
	}
	return check
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
