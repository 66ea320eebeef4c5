package storage

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3rpc"
	"go.etcd.io/etcd/server/v3/proxy/grpcproxy/adapter"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"k8s.io/component-base/metrics"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

// Etcd is a [Backend] that runs one etcd member in the process. Its fields may
// be set before Start.
type Etcd struct {
	// Dir is the data directory. It is created, with mode 0700, if missing.
	Dir string

	// NoSync skips every fsync, for stores that may lose data in a crash. Default false: a
	// confirmed write survives a power loss.
	NoSync bool

	// Quota is the size in bytes that the content may reach. Default: what
	// the volume and the memory limit allow, up to 2 GiB.
	Quota int64

	// VolumeSize is the size of the volume in bytes, for volumes that do not show
	// it, such as an emptyDir with a limit. Default: what the file
	// system reports.
	VolumeSize int64

	// Reserve is the size in bytes of a file that is deleted to start on a full
	// volume. Default: none.
	Reserve int64

	// IsInternal reports whether a request comes from a part of this process. Such requests may
	// still create objects in a nearly full store. Default: no request does.
	IsInternal func(ctx context.Context) bool

	// Register registers the metrics. Default: they are not kept.
	Register func(metrics.Registerable) error

	// Clock drives the checks of the size. Default: the real one.
	Clock clock.WithTicker

	// Member is the identity of the member. Default: a single member that
	// nobody can reach.
	Member Member

	// Known is the record of the store outside of its volume. Default: none, so that an empty
	// volume becomes a new store.
	Known Known

	// Lone is true if there should be no other members, so that heartbeats are rare. If members
	// are added later, another one should lead, see [Etcd.YieldLead]. Default false.
	Lone bool

	// ForceNew makes the member on the volume the only one. Data that only other members have is
	// lost. Once set, it must be set at each start until one has succeeded. Default false.
	ForceNew bool

	// PeerListener accepts connections of other members. Stop closes it.
	// Default: none.
	PeerListener net.Listener

	// PeerTLS authenticates members to each other. Default: no authentication, for tests.
	PeerTLS *PeerTLS

	// Admit returns why another process must not become a member. Default: all may.
	Admit func(name string) error

	// BeforeStop is called at the beginning of Stop, when nobody uses the store any more. A member
	// may leave the others then. Default: it stays a member.
	BeforeStop func()

	// Review is called repeatedly while the start waits for a leader. An error ends the start.
	// Default: the start waits.
	Review func(ctx context.Context) error

	// OnWait is called with the reason why the start waits for other members, and with an empty
	// reason at the end. Default: the reason is not reported.
	OnWait func(reason string)

	// Logger receives etcd's log. Default: warnings and errors as JSON lines on
	// standard error.
	Logger *zap.Logger

	quota  atomic.Int64 // the one in use
	limits limits       // of the start
	memory func() int64 // returns the memory limit

	// electionTimeout is longer in tests of what does not wait for it. Default: the constant.
	electionTimeout time.Duration
	// successionPause is longer in tests whose elections must not fail. Default: the constant.
	successionPause time.Duration

	lock    *os.File
	server  *etcdserver.EtcdServer
	client  *kubernetes.Client
	peers   *peerServer
	caller  *peerCaller
	joins   sync.Mutex
	turns   turns
	terms   leaderTerms
	leaving atomic.Bool
	reached bool // another member has answered before the start
	keeper  *spaceKeeper
	kept    sync.WaitGroup
	started atomic.Bool
	stopped chan struct{}
	failed  chan struct{}

	rpc rpcPipe
}

var _ Backend = &Etcd{}

// Embedded returns an etcd server that keeps its data in dir.
func Embedded(dir string) *Etcd {
	return &Etcd{Dir: dir, stopped: make(chan struct{}), failed: make(chan struct{})}
}

// Start locks the data directory, opens or creates the database and waits until
// the member has a leader.
func (e *Etcd) Start(ctx context.Context) (*kubernetes.Client, error) {
	if err := e.lockDir(); err != nil {
		return nil, err
	}
	if e.Clock == nil {
		e.Clock = clock.RealClock{}
	}
	reserve := newReserve(e.Dir, e.Reserve)
	if err := reserve.release(); err != nil {
		return nil, err
	}
	logger := e.logger()
	if err := e.startServer(ctx, logger); err != nil {
		return nil, err
	}
	if err := e.updatePeerURL(ctx); err != nil {
		logger.Warn("Cannot update the peer URL of the member", zap.Error(err))
	}

	if err := e.keepSpace(ctx, reserve); err != nil {
		return nil, err
	}
	e.terms.begin(context.WithoutCancel(ctx), e.server.Leader() == e.server.MemberID())
	e.client = e.newClient()
	e.kept.Go(func() { e.watchLeaders(context.WithoutCancel(ctx)) })
	e.started.Store(true)
	go e.watchServer()
	return e.client, nil
}

// startServer starts the member and waits until it has a leader.
func (e *Etcd) startServer(ctx context.Context, logger *zap.Logger) error {
	e.Member = e.Member.withDefaults()
	if err := e.preparePeers(); err != nil {
		return err
	}
	isNew, err := e.prepareMember(ctx, logger, layout{e.serverDir()}.walDir())
	if err != nil {
		return err
	}
	if e.ForceNew {
		if err := e.commitLog(logger, layout{e.serverDir()}.walDir()); err != nil {
			return err
		}
	}
	if err := e.createServer(ctx, logger); err != nil {
		return err
	}
	if !isNew {
		e.electAtRestart(ctx)
	}
	e.server.Start()
	if err := e.servePeers(); err != nil {
		return err
	}
	if isNew {
		e.elect(ctx)
	}
	return e.awaitReady(ctx)
}

// createServer opens the database. A new member tries again if the others have changed
// meanwhile.
func (e *Etcd) createServer(ctx context.Context, logger *zap.Logger) error {
	for {
		cfg, err := e.serverConfig(logger)
		if err != nil {
			return err
		}
		server, err := etcdserver.NewServer(cfg)
		if err == nil {
			e.server = server
			return e.checkContent()
		}
		if !needsJoin(cfg) || ctx.Err() != nil {
			return fmt.Errorf("cannot open the database in %s: %w", e.Dir, err)
		}
		e.reportWait(fmt.Sprintf("the members of the store have changed: %v", err))
		if _, err := e.prepareMember(ctx, logger, cfg.WALDir()); err != nil {
			return err
		}
	}
}

// checkContent compares the content with that of other members, if one answers.
func (e *Etcd) checkContent() error {
	if !e.reached || len(e.server.Cluster().Members()) < 2 {
		return nil
	}
	if err := e.server.CorruptionChecker().InitialCheck(); err != nil {
		return fmt.Errorf("the database in %s differs from that of the other members; delete its volume, and it joins again: %w", e.Dir, err)
	}
	return nil
}

// newClient returns a client that calls the server without a connection.
func (e *Etcd) newClient() *kubernetes.Client {
	client := &kubernetes.Client{Client: v3client.New(e.server)}
	kv := steadyKV{KVServer: v3rpc.NewQuotaKVServer(e.server), terms: &e.terms}
	client.KV = clientv3.NewKVFromKVClient(adapter.KvServerToKvClient(kv), client.Client)
	leases := steadyLeases{LeaseServer: v3rpc.NewQuotaLeaseServer(e.server), terms: &e.terms}
	client.Lease = clientv3.NewLeaseFromLeaseClient(adapter.LeaseServerToLeaseClient(leases), client.Client, time.Second)
	client.Watcher = newWatcher(v3rpc.NewWatchServer(e.server), client.Client)
	limit := &creationLimit{
		Interface: client,
		usage:     e.usage,
		free:      func() (int64, error) { return freeSpace(e.Dir) },
		internal:  e.IsInternal,
		relieve:   e.keeper.requestCheck,
	}
	if _, ok := e.server.Backend().(commitCounter); ok {
		// A member that joins replaces its backend when it gets a snapshot.
		limit.written.commits = func() int64 { return e.server.Backend().(commitCounter).Commits() }
	}
	client.Kubernetes = limit
	return client
}

// commitCounter is implemented by the backend, without being part of its interface.
type commitCounter interface{ Commits() int64 }

// keepSpace defragments a file with much free space, and keeps space free from
// then on.
func (e *Etcd) keepSpace(ctx context.Context, reserve *reserve) error {
	observed, err := newStoreMetrics(e.Register)
	if err != nil {
		return err
	}
	observed.recordUp()
	e.keeper = &spaceKeeper{
		clock:     e.Clock,
		database:  e,
		resize:    e.followMemory,
		free:      reserve.free,
		requested: make(chan struct{}, 1),
		observed: func(usage Usage, alarmed bool) {
			observed.observe(usage, alarmed)
			if err := reserve.set(); err != nil {
				klog.ErrorS(err, "Cannot reserve space on the volume of the store")
			}
		},
	}
	e.keeper.defragmentAtStart(ctx)
	keeping, stop := context.WithCancel(context.WithoutCancel(ctx))
	e.kept.Go(func() { e.keeper.run(keeping) })
	e.kept.Go(func() {
		<-e.stopped
		stop()
	})
	return nil
}

// lockDir creates the data directory and locks it. Opening a database that
// another process holds would block forever.
func (e *Etcd) lockDir() error {
	if e.lock != nil {
		return nil
	}
	if err := os.MkdirAll(e.Dir, 0o700); err != nil {
		return fmt.Errorf("cannot create data directory %s: %w", e.Dir, err)
	}
	lock, err := lockFile(filepath.Join(e.Dir, "lock"))
	if err != nil {
		return fmt.Errorf("cannot lock data directory %s: %w", e.Dir, err)
	}
	e.lock = lock
	return nil
}

// watchServer closes Failed when the server ends by itself.
func (e *Etcd) watchServer() {
	select {
	case <-e.stopped:
	case <-e.server.StopNotify():
		select {
		case <-e.stopped:
		default:
			if !e.leaving.Load() {
				close(e.failed)
			}
		}
	}
}

// Failed returns a channel that is closed when the server has stopped although
// nobody called Stop.
func (e *Etcd) Failed() <-chan struct{} { return e.failed }

// Capabilities returns what an embedded etcd can do.
func (e *Etcd) Capabilities() Capabilities {
	return Capabilities{
		Compacts:   true,
		Snapshot:   e.snapshot,
		Restore:    e.restore,
		Reset:      e.reset,
		TxnWrites:  txnWrites,
		Defragment: e.defragment,
		Purge:      e.defragment,
		Usage:      e.usage,
		Alarms:     e.alarms,
		Disarm:     e.disarm,
		Checks:     e.checks,
	}
}

// Dial opens an in-memory gRPC connection. The gRPC server behind it starts
// with the first call.
func (e *Etcd) Dial(ctx context.Context) (net.Conn, error) {
	return e.rpc.dial(ctx, func(rpc *grpc.Server) {
		etcdserverpb.RegisterKVServer(rpc, v3rpc.NewQuotaKVServer(e.server))
		etcdserverpb.RegisterWatchServer(rpc, v3rpc.NewWatchServer(e.server))
		etcdserverpb.RegisterLeaseServer(rpc, v3rpc.NewQuotaLeaseServer(e.server))
		etcdserverpb.RegisterMaintenanceServer(rpc, versionOverride{v3rpc.NewMaintenanceServer(e.server, nil)})
	})
}

// versionOverride reports an old version of etcd that does not support progress requests of watches. The
// API server then reads consistent lists from the store, which takes less than a millisecond here. Its
// cache would wait a tenth of a second for the progress.
type versionOverride struct{ etcdserverpb.MaintenanceServer }

// Status returns the server's status with another version.
func (o versionOverride) Status(ctx context.Context, req *etcdserverpb.StatusRequest) (*etcdserverpb.StatusResponse, error) {
	status, err := o.MaintenanceServer.Status(ctx, req)
	if status != nil {
		status.Version = "3.4.0"
	}
	return status, err
}

// Stop closes the database and releases the data directory.
func (e *Etcd) Stop() {
	select {
	case <-e.stopped:
		return
	default:
	}
	if e.BeforeStop != nil && e.started.Load() {
		e.BeforeStop()
	}
	close(e.stopped)
	e.rpc.stop()
	if e.client != nil {
		_ = e.client.Close()
	}
	e.kept.Wait()
	if e.server != nil {
		e.server.Stop()
	}
	e.stopPeers()
	if e.lock != nil {
		unlockFile(e.lock)
	}
}
