package storage

import (
	"cmp"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"

	"k8s.io/klog/v2"

	"github.com/sublet-dev/sublet/pkg/cgroup"
)

const (
	mib = 1 << 20

	// maxQuota is the largest quota that is chosen for a store: etcd's own default.
	maxQuota int64 = 2 << 30

	// minQuota is the smallest. A virtual cluster without objects needs some MiB,
	// and the part above createsUntil must hold a few objects.
	minQuota int64 = 64 * mib

	// baseMemory is what the process needs without any object.
	baseMemory int64 = 256 * mib

	// copiesInMemory is how many copies of the content of the store are in memory during a start.
	// One is read from the store, one is in the watch cache, one in a response, one in an
	// informer, and one is garbage. A start with 334 MiB in use took 1.7 GB.
	copiesInMemory = 5

	// minLog and maxLog bound the share of the volume that is left to the raft log.
	minLog int64 = 192 * mib
	maxLog int64 = 768 * mib
)

// limits are the limits from which a quota is derived, in bytes. 0 means that there is no known limit.
type limits struct {
	// volume is the size of the volume as far as the store may use it.
	volume int64
	// reserve is the part of the volume that is kept for a start on a full one.
	reserve int64
	// memory is the memory limit of the process.
	memory int64
}

// quota returns the quota for a store within the limits. The volume has to hold
// the largest file and its content once more, for a defragmentation.
func (l limits) quota() int64 {
	quota := maxQuota
	if l.volume > 0 {
		log := min(max(l.volume/4, minLog), maxLog)
		quota = min(quota, (l.volume-l.reserve-log)*fileSlack/(2*fileSlack+1))
	}
	if l.memory > 0 {
		quota = min(quota, (l.memory-baseMemory)/copiesInMemory)
	}
	return max(quota, minQuota)
}

// readLimits returns the limits of this process and of the volume of dir. size
// is the operator's limit for the volume, or 0; an emptyDir with a limit does
// not show it.
func readLimits(dir string, size, reserve int64) limits {
	l := limits{volume: size, reserve: reserve, memory: memoryLimit("/")}
	if free, err := freeSpace(dir); err == nil {
		usable := free + usedBy(dir)
		l.volume = min(cmp.Or(size, usable), usable)
	}
	return l
}

// freeSpace returns how many bytes an unprivileged process can still write to
// the volume of dir.
func freeSpace(dir string) (int64, error) {
	var stat syscall.Statfs_t
	if err := syscall.Statfs(dir, &stat); err != nil {
		return 0, err
	}
	return int64(min(stat.Bavail, math.MaxInt64/uint64(stat.Bsize)) * uint64(stat.Bsize)), nil //nolint:gosec // sizes of blocks are positive
}

// usedBy returns how many bytes the files in dir occupy.
func usedBy(dir string) int64 {
	var used int64
	_ = filepath.WalkDir(dir, func(_ string, entry os.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // it was deleted meanwhile
		}
		if info, err := entry.Info(); err == nil && info.Mode().IsRegular() {
			used += info.Size()
		}
		return nil
	})
	return used
}

// ceiling returns the largest quota that the limits may allow later, because the memory limit can change
// while the process runs.
func (l limits) ceiling() int64 {
	l.memory = 0
	return l.quota()
}

// memoryLimit returns the smaller of GOMEMLIMIT and the limit of the cgroup, or
// 0 if there is none. root is the root of the file system.
func memoryLimit(root string) int64 {
	limit := debug.SetMemoryLimit(-1)
	if group := cgroup.MemoryLimit(root); group > 0 {
		limit = min(limit, group)
	}
	if limit > math.MaxInt64/2 {
		return 0
	}
	return limit
}

// followMemory makes the quota follow the memory limit of the container, which can be
// resized while it runs. A quota that the operator has set stays.
func (e *Etcd) followMemory() {
	if e.Quota != 0 {
		return
	}
	limits := e.limits
	limits.memory = e.memory()
	next := limits.quota()
	if before := e.quota.Swap(next); before != next {
		klog.InfoS("The quota of the store follows the memory limit", "from", before, "to", next, "memoryLimit", limits.memory)
	}
}
