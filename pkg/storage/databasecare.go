package storage

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/k3s-io/kine/pkg/server"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/api/syncz"
)

// sizeCheck is the time between two measurements of the database.
const sizeCheck = 30 * time.Second

// databaseCare removes old revisions and watches the size of a database.
type databaseCare struct {
	clock   clock.WithTicker
	engine  sqlEngine
	dialect *sqlDialect
	backend server.Backend
	health  *databaseHealth
	metrics *storeMetrics
	// quota is the limit of the content in bytes, or 0 for a database outside of the
	// process, which has limits of its own.
	quota int64
	// dir is the directory of a database in the process, or empty.
	dir       string
	requested chan struct{}
	// reserve keeps space on the volume of dir.
	reserve *reserve

	size, inUse, written atomic.Int64
	history              revisionHistory
}

// startCare starts the care for the database.
func (k *Kine) startCare(ctx context.Context, observed *storeMetrics, backend server.Backend) error {
	observed.recordUp()
	care := &databaseCare{
		clock: k.Clock, engine: k.engine, dialect: k.dialect, backend: backend, health: &k.health, metrics: observed,
		requested: make(chan struct{}, 1), history: revisionHistory{keep: keptHistory},
	}
	if local := k.local(); local != nil {
		care.dir, care.quota, care.reserve = local.dir, k.Quota, newReserve(local.dir, k.Reserve)
		if care.quota == 0 {
			care.quota = readLimits(local.dir, k.VolumeSize, k.Reserve).quota()
		}
	}
	// A database outside of the process is measured again at once.
	if err := care.measure(ctx); err != nil && care.quota > 0 {
		return fmt.Errorf("cannot read the size of %s: %w", k.engine.describe(), err)
	}
	k.care.Store(care)
	k.own.Go(func() { care.run(k.ctx) })
	return nil
}

// run maintains the database until the context ends.
func (c *databaseCare) run(ctx context.Context) {
	repeat(ctx, c.clock, sizeCheck, c.requested, c.maintain)
}

// maintain compacts revisions that are older than keptHistory, or all if the quota is nearly reached. Then it
// measures the database.
func (c *databaseCare) maintain(ctx context.Context) {
	if err := c.compact(ctx); err != nil && ctx.Err() == nil {
		klog.V(2).InfoS("Cannot compact the database", "err", err)
	}
	if err := c.engine.tidy(ctx, c.dialect); err != nil && ctx.Err() == nil {
		klog.V(2).InfoS("Cannot give free space of the database back", "err", err)
	}
	if err := c.measure(ctx); err != nil && ctx.Err() == nil && c.health.record(err) {
		klog.InfoS("The database does not respond", "reason", c.health.reason())
	}
	if c.reserve == nil {
		return
	}
	if err := c.reserve.set(); err != nil {
		klog.ErrorS(err, "Cannot reserve space on the volume of the store")
	}
}

// compact removes old revisions.
func (c *databaseCare) compact(ctx context.Context) error {
	current, err := c.backend.CurrentRevision(ctx)
	if err != nil {
		return err
	}
	target := c.history.observe(c.clock.Now(), current)
	if usage := c.usage(); c.quota > 0 && usage.InUse > c.quota/100*relievedAt {
		target = current
	}
	if target == 0 {
		return nil
	}
	_, err = c.backend.Compact(ctx, target)
	if errors.Is(err, server.ErrCompacted) || errors.Is(err, server.ErrFutureRev) {
		return nil
	}
	return err
}

// measure reads the sizes of the database.
func (c *databaseCare) measure(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, keyTimeout)
	defer cancel()
	size, inUse, err := c.dialect.sizes(bounded)
	if err != nil {
		return err
	}
	c.size.Store(size)
	c.inUse.Store(inUse)
	c.written.Store(0)
	c.metrics.observe(c.usage(), noAlarm)
	return nil
}

// usage returns the sizes of the last measurement plus what was written since.
func (c *databaseCare) usage() Usage {
	return Usage{Size: c.size.Load(), InUse: c.inUse.Load() + c.written.Load(), Quota: c.quota}
}

// limit returns a client that denies creates in a database that is almost full.
func (c *databaseCare) limit(client kubernetes.Interface, internal func(context.Context) bool) kubernetes.Interface {
	return &writtenCounter{Interface: &creationLimit{
		Interface: client, usage: c.usage, internal: internal, relieve: c.requestMaintenance,
		free: func() (int64, error) { return freeSpace(c.dir) },
	}, written: &c.written}
}

// requestMaintenance makes run call maintain soon.
func (c *databaseCare) requestMaintenance() {
	select {
	case c.requested <- struct{}{}:
	default:
	}
}

// writtenCounter counts the bytes that are written.
type writtenCounter struct {
	kubernetes.Interface
	written *atomic.Int64
}

// OptimisticPut writes a key if it has the expected revision.
func (w *writtenCounter) OptimisticPut(ctx context.Context, key string, value []byte, expectedRevision int64, opts kubernetes.PutOptions,
) (kubernetes.PutResponse, error) {
	response, err := w.Interface.OptimisticPut(ctx, key, value, expectedRevision, opts)
	if err == nil && response.Succeeded {
		w.written.Add(int64(len(key) + len(value)))
	}
	return response, err
}

// revisionHistory finds the revision of some time ago.
type revisionHistory struct {
	keep time.Duration
	seen []revisionAt // oldest first
}

// revisionAt is the revision at one time.
type revisionAt struct {
	time     time.Time
	revision int64
}

// observe adds the current revision and returns the last one that is older than the
// history to keep, or 0.
func (h *revisionHistory) observe(now time.Time, revision int64) (old int64) {
	for len(h.seen) > 0 && now.Sub(h.seen[0].time) >= h.keep {
		old = h.seen[0].revision
		h.seen = h.seen[1:]
	}
	h.seen = append(h.seen, revisionAt{now, revision})
	return old
}

// usage returns the sizes of the database. They are zero before the start.
func (k *Kine) usage() Usage {
	if care := k.care.Load(); care != nil {
		return care.usage()
	}
	return Usage{}
}

// defragment rewrites the database without free space. Writes wait meanwhile.
func (k *Kine) defragment(ctx context.Context) error {
	k.dialect.Lock()
	defer k.dialect.Unlock()
	// The log has pages of before until it is emptied.
	if err := execAll(ctx, k.dialect.DB, "VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
		return fmt.Errorf("cannot rewrite %s: %w", k.engine.describe(), err)
	}
	return nil
}

// checks returns the health of the store. It is empty before the database answers.
func (k *Kine) checks() []syncz.Check {
	care := k.care.Load()
	if care == nil {
		return nil
	}
	usage := care.usage()
	if care.quota == 0 {
		return []syncz.Check{k.health.check(k.engine.describe()), {
			Name: "store size", Healthy: true, Message: "The database outside of the cluster has its own limits.",
			Details: []string{fmt.Sprintf("database: %d MiB", usage.Size/mib)},
		}}
	}
	return []syncz.Check{k.health.check(k.engine.describe()), withVolume(checkSize(usage, noAlarm), care.dir)}
}
