package storage

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/k3s-io/kine/pkg/drivers"
	"github.com/k3s-io/kine/pkg/logstructured"
	"github.com/k3s-io/kine/pkg/logstructured/sqllog"
	"github.com/k3s-io/kine/pkg/server"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"k8s.io/component-base/metrics"
	"k8s.io/utils/clock"
)

const (
	// sharedPoll is the interval at which the database is polled for writes of other replicas. A
	// replica sees its own writes at once.
	sharedPoll = 100 * time.Millisecond
	// alonePoll is the interval for a database to which nobody else should write.
	alonePoll = time.Second

	// compactTimeout bounds one step of a compaction, of compactBatch revisions.
	compactTimeout = 30 * time.Second
	compactBatch   = 1000
	// pollBatch is the maximum number of revisions per poll. kine only pauses after a batch that is
	// not full, and cannot be stopped before.
	pollBatch = 1 << 20

	// databaseSlots is the maximum number of concurrent requests to the database.
	databaseSlots = 8
	// extraConnections are for the poll, a compaction and the measurement of the size.
	extraConnections = 4
	// progressEvery is the time after which an idle watch gets the current revision. A
	// cache that restarts its watch then needs no revision that is compacted.
	progressEvery = time.Minute
)

// Kine is a [Backend] that stores its data in an SQL database, with the library kine, which is called in
// process. Create it with [SQLite] or [Database]. Its fields may be set before Start.
type Kine struct {
	// Shared is true if other replicas use the database too. Default false.
	Shared bool

	// Quota is the size in bytes that the content of an SQLite database may
	// reach. Default: what the volume and the memory limit allow.
	Quota int64

	// VolumeSize is the size of the volume in bytes, for volumes that do not show
	// it. Default: what the file system reports.
	VolumeSize int64

	// Reserve is the size in bytes of a file next to an SQLite database, which is deleted to start
	// on a full volume. Default: none.
	Reserve int64

	// IsInternal reports whether a request comes from a part of this process.
	// Default: no request does.
	IsInternal func(ctx context.Context) bool

	// Register registers the metrics. Default: they are not kept.
	Register func(metrics.Registerable) error

	// Waiter waits while a database outside of the process cannot be used.
	Waiter Waiter

	// Clock drives compactions and checks of the size. Default: the real one.
	Clock clock.WithTicker

	engine  sqlEngine
	dialect *sqlDialect
	log     *kineLog
	bridge  *server.KVServerBridge
	client  *kubernetes.Client
	health  databaseHealth
	care    atomic.Pointer[databaseCare]

	ctx     context.Context //nolint:containedctx // of what kine runs, until Stop
	stop    context.CancelFunc
	running sync.WaitGroup // what kine runs
	own     sync.WaitGroup // what we run
	stopped sync.Once
	failed  chan struct{}

	rpc rpcPipe
}

var _ Backend = &Kine{}

// sqlEngine implements what differs between SQLite, PostgreSQL and MySQL.
type sqlEngine interface { //nolint:interfacebloat // the life of a database, in order
	// describe returns the name of the database for messages, without secrets.
	describe() string
	// prepare checks that the database can be used, and creates it if it is missing. Its
	// errors are for operators and have no secrets.
	prepare(ctx context.Context) error
	// open opens the database and creates the table.
	open(ctx context.Context, running *sync.WaitGroup) (*sqlDialect, error)
	// explain returns the error for operators, without secrets.
	explain(err error) error
	// tidy returns some free space to the volume.
	tidy(ctx context.Context, db *sqlDialect) error
	// release releases what prepare has locked.
	release()
}

// newKine returns a store on the database of an engine.
func newKine(engine sqlEngine) *Kine {
	return &Kine{engine: engine, Clock: clock.RealClock{}, failed: make(chan struct{})}
}

// Start opens the database and returns once it answers. It waits for a database outside of the process,
// whatever the error, because most causes can be corrected without a restart.
func (k *Kine) Start(ctx context.Context) (*kubernetes.Client, error) {
	redirectKineLog()
	observed, err := newStoreMetrics(k.Register)
	if err != nil {
		return nil, err
	}
	k.health.watch(k.engine.explain, observed)
	var backend *kineBackend
	if err := k.retry(ctx, func(ctx context.Context) (err error) {
		backend, err = k.open(ctx)
		return err
	}); err != nil {
		return nil, err
	}
	k.own.Go(func() { backend.expire(k.ctx) })
	k.bridge = server.New(backend, "unix", progressEvery, emulatedVersion)
	if err := k.startCare(ctx, observed, backend); err != nil {
		return nil, err
	}
	k.client = newKineClient(k.bridge)
	if care := k.care.Load(); care.quota > 0 {
		k.client.Kubernetes = care.limit(k.client.Kubernetes, k.IsInternal)
	}
	return k.client, nil
}

// retry calls attempt until it succeeds for a database outside of the process, and once for a local one.
func (k *Kine) retry(ctx context.Context, attempt func(context.Context) error) error {
	if k.local() != nil {
		return attempt(ctx)
	}
	return k.Waiter.Retry(ctx, attempt)
}

// open tries once to open the database. After an error nothing runs any more. The end of ctx ends an
// attempt, but not what a successful one has started.
func (k *Kine) open(ctx context.Context) (*kineBackend, error) {
	if err := k.prepare(ctx); err != nil {
		return nil, err
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	bounded, cancel := context.WithTimeout(ctx, rangeTimeout)
	defer cancel()
	keep := context.AfterFunc(bounded, stop)
	backend, err := k.startLog(running)
	if !keep() && err == nil {
		err = context.Cause(bounded)
	}
	if err != nil {
		stop()
		k.running.Wait()
		return nil, fmt.Errorf("cannot open %s: %w", k.engine.describe(), k.explainOpen(ctx, bounded, err))
	}
	k.ctx, k.stop = running, stop
	return backend, nil
}

// explainOpen returns why an attempt to open the database failed. bounded has ended if it took too long.
func (k *Kine) explainOpen(ctx, bounded context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case bounded.Err() != nil:
		return k.engine.explain(context.Cause(bounded))
	case errors.Is(err, errDatabaseAway):
		return errors.New(k.health.reason())
	}
	return k.engine.explain(err)
}

// startLog opens the database and starts kine on it, until the context ends.
func (k *Kine) startLog(ctx context.Context) (*kineBackend, error) {
	dialect, err := k.engine.open(ctx, &k.running)
	if err != nil {
		return nil, err
	}
	k.dialect = dialect
	k.log = &kineLog{
		SQLLog: sqllog.New(dialect, &k.running, &drivers.Config{
			PollInterval: k.pollInterval(), PollBatchSize: pollBatch,
			CompactTimeout: compactTimeout, CompactBatchSize: compactBatch,
		}),
		slots:  make(chan struct{}, databaseSlots),
		health: &k.health, isInvalid: dialect.isInvalid,
	}
	backend := &kineBackend{LogStructured: logstructured.New(k.log), log: k.log, clock: k.Clock}
	return backend, backend.start(ctx)
}

// pollInterval returns the time between two looks for the writes of others.
func (k *Kine) pollInterval() time.Duration {
	if k.Shared {
		return sharedPoll
	}
	return alonePoll
}

// prepare makes the database ready to be opened.
func (k *Kine) prepare(ctx context.Context) error {
	if err := k.engine.prepare(ctx); err != nil {
		return err
	}
	local := k.local()
	if local == nil {
		return nil
	}
	if err := newReserve(local.dir, k.Reserve).release(); err != nil {
		return err
	}
	return local.check(ctx)
}

// local returns the engine of a database in the process, or nil.
func (k *Kine) local() *sqliteEngine {
	engine, _ := k.engine.(*sqliteEngine)
	return engine
}

// Failed returns a channel that is never closed, because requests wait for a database that is away.
func (k *Kine) Failed() <-chan struct{} { return k.failed }

// Capabilities returns what a database can do.
func (k *Kine) Capabilities() Capabilities {
	capabilities := Capabilities{
		Compacts: true, Remote: k.local() == nil, Usage: k.usage, Checks: k.checks, Reset: k.reset, Load: k.load, Purge: k.purge,
	}
	if k.local() != nil {
		capabilities.Defragment = k.defragment
	}
	return capabilities
}

// Dial opens an in-memory gRPC connection. The gRPC server behind it starts with the
// first call.
func (k *Kine) Dial(ctx context.Context) (net.Conn, error) {
	return k.rpc.dial(ctx, k.bridge.Register)
}

// Stop closes the database.
func (k *Kine) Stop() {
	k.stopped.Do(func() {
		k.rpc.stop()
		if k.client != nil {
			_ = k.client.Close()
		}
		if k.stop != nil {
			k.stop()
		}
		k.own.Wait()
		k.running.Wait()
		k.engine.release()
	})
}
