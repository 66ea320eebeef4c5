package storage

import (
	"context"
	"errors"
	"slices"
	"time"

	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

const (
	// spaceCheck is the time between two checks of the size of the store.
	spaceCheck = 30 * time.Second
	// spacePause is the shortest time between two checks that writes request.
	spacePause = 5 * time.Second
	// defragmentPause is the shortest time between two defragmentations, during
	// which requests wait. An alarm does not wait for it.
	defragmentPause = 5 * time.Minute

	// defragmentFrom is the percentage of the quota above which the file is defragmented, if at
	// least worthwhile percent of the quota become free.
	defragmentFrom = 80
	worthwhile     = 10
	// disarmBelow is the percentage of the quota below which the size of the file must be before an
	// alarm is cleared.
	disarmBelow = 110
	// muchFree is the free space, in bytes, above which the file is
	// rewritten at the start, when nobody waits for a write.
	muchFree int64 = 100 * mib
)

// database has the functions of the store that the keeper uses.
type database interface {
	sizes
	noSpaceAlarm
	compact(ctx context.Context, revision int64) error
	defragment(ctx context.Context) error
}

// sizes reads how large the store is.
type sizes interface {
	usage() Usage
	revision() int64
	// refreshUsage makes usage show what a compaction has freed.
	refreshUsage()
}

// noSpaceAlarm reads and clears the alarm of a full store.
type noSpaceAlarm interface {
	alarms(ctx context.Context) ([]Alarm, error)
	disarm(ctx context.Context, alarm Alarm) error
}

// spaceKeeper frees space in a store that gets full: it compacts, defragments
// and clears the alarm. Usually the compaction of old revisions every few
// minutes is enough, and it does nothing.
type spaceKeeper struct {
	clock    clock.WithTicker
	database database
	// resize is called before each check, as the quota may change. nil does nothing.
	resize func()
	// free returns the free space of the volume.
	free func() (int64, error)
	// observed is called after each check.
	observed  func(usage Usage, alarmed bool)
	requested chan struct{}

	seen        int64 // revision at the last check
	compacted   int64 // revision of the last compaction
	defragments time.Time
	low         bool // the last check warned
}

// requestCheck makes run check the space soon. It does not wait.
func (k *spaceKeeper) requestCheck() {
	select {
	case k.requested <- struct{}{}:
	default:
	}
}

// run checks the space until the context ends.
func (k *spaceKeeper) run(ctx context.Context) {
	repeat(ctx, k.clock, spaceCheck, k.requested, k.checkSpace)
}

// repeat calls check after each period until the context ends. It calls it earlier if that is requested, but not
// within spacePause of the last one: each create in a full store requests it.
func repeat(ctx context.Context, c clock.Clock, period time.Duration, requested <-chan struct{}, check func(context.Context)) {
	for {
		check(ctx)
		checked := c.Now()
		select {
		case <-ctx.Done():
			return
		case <-c.After(period):
			continue
		case <-requested:
		}
		if pause := spacePause - c.Since(checked); pause > 0 {
			select {
			case <-ctx.Done():
				return
			case <-c.After(pause):
			}
		}
	}
}

// checkSpace frees space if the store is getting full.
func (k *spaceKeeper) checkSpace(ctx context.Context) {
	if k.resize != nil {
		k.resize()
	}
	alarmed := k.hasAlarm(ctx)
	usage := k.database.usage()
	if alarmed || usage.Size >= usage.Quota/100*relievedAt {
		k.compact(ctx, usage, alarmed)
		k.database.refreshUsage()
		k.defragment(ctx, alarmed)
		usage = k.database.usage()
	}
	if alarmed && usage.Size < usage.Quota/100*disarmBelow {
		if err := k.database.disarm(ctx, AlarmNoSpace); err != nil {
			klog.ErrorS(err, "Cannot clear the alarm of the full store")
		} else {
			alarmed = false
			klog.InfoS("The store takes writes again", "size", usage.Size, "inUse", usage.InUse, "quota", usage.Quota)
		}
	}
	k.warn(usage, alarmed)
	k.seen = k.database.revision()
	if k.observed != nil {
		k.observed(usage, alarmed)
	}
}

// hasAlarm reports whether the store has denied a write for want of space.
func (k *spaceKeeper) hasAlarm(ctx context.Context) bool {
	alarms, err := k.database.alarms(ctx)
	if err != nil {
		klog.ErrorS(err, "Cannot list the alarms of the store")
	}
	return slices.Contains(alarms, AlarmNoSpace)
}

// compact removes old revisions. A store that still takes creates keeps those
// since the last check, for watches that resume.
func (k *spaceKeeper) compact(ctx context.Context, usage Usage, alarmed bool) {
	revision := k.seen
	if alarmed || usage.InUse >= usage.Quota/100*createsUntil {
		revision = k.database.revision()
	}
	if revision <= k.compacted {
		return
	}
	if err := k.database.compact(ctx, revision); err != nil {
		klog.ErrorS(err, "Cannot compact the store", "revision", revision)
		return
	}
	k.compacted = revision
}

// defragment rewrites the file if the quota is near, enough becomes free and the
// volume has room for a second file.
func (k *spaceKeeper) defragment(ctx context.Context, alarmed bool) {
	usage := k.database.usage()
	gain := usage.Size - usage.InUse
	needed := usage.Size >= usage.Quota/100*defragmentFrom && gain >= usage.Quota/100*worthwhile &&
		(k.defragments.IsZero() || k.clock.Since(k.defragments) >= defragmentPause)
	if !needed && !(alarmed && gain > 0) {
		return
	}
	if free, err := k.free(); err == nil && free < usage.InUse+minFree {
		klog.InfoS("The volume has no room to defragment the store", "free", free, "inUse", usage.InUse)
		return
	}
	started := k.clock.Now()
	switch err := k.database.defragment(ctx); {
	case errors.Is(err, errNotNow):
		klog.V(2).InfoS("Defragmentation waits for its turn", "reason", err)
		return
	case err != nil:
		klog.ErrorS(err, "Cannot defragment the store")
		return
	}
	k.defragments = k.clock.Now()
	klog.InfoS("Defragmented the store", "before", usage.Size, "after", k.database.usage().Size, "duration", k.clock.Since(started))
}

// defragmentAtStart rewrites a file with much free space. A failure leaves the
// file as it is.
func (k *spaceKeeper) defragmentAtStart(ctx context.Context) {
	usage := k.database.usage()
	if usage.Size-usage.InUse < muchFree {
		return
	}
	if free, err := k.free(); err == nil && free < usage.InUse+minFree {
		return
	}
	if err := k.database.defragment(ctx); err != nil {
		klog.ErrorS(err, "Cannot defragment the store")
	}
}

// warn logs once when the store gets too full for creates.
func (k *spaceKeeper) warn(usage Usage, alarmed bool) {
	low := alarmed || usage.InUse >= usage.Quota/100*relievedAt
	if low && !k.low {
		klog.InfoS("The store is getting full", "size", usage.Size, "inUse", usage.InUse, "quota", usage.Quota,
			"createsUntilPercent", createsUntil, "alarm", alarmed)
	}
	k.low = low
}
