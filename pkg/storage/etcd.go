package storage

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3rpc"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"
	"k8s.io/component-base/metrics"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

// pipeBuffer is the size of the in-memory connections of Dial, in bytes.
const pipeBuffer = 32 << 10

// Etcd is a [Backend] that runs one etcd member in the process. Its fields may
// be set before Start.
type Etcd struct {
	// Dir is the data directory. It is created, with mode 0700, if missing.
	Dir string

	// NoSync skips every fsync, for stores whose content nobody will miss after
	// a crash. Default false: a confirmed write survives a power loss.
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

	// IsInternal reports whether a request comes from a part of this process.
	// Those create objects in a store that denies creates to everybody else.
	// Default: no request does.
	IsInternal func(ctx context.Context) bool

	// Register registers the metrics. Default: they are not kept.
	Register func(metrics.Registerable) error

	// Clock drives the checks of the size. Default: the real one.
	Clock clock.WithTicker

	// Member is the identity of the member. Default: a single member that
	// nobody can reach.
	Member Member

	// PeerListener accepts connections of other members. Stop closes it.
	// Default: none.
	PeerListener net.Listener

	// Logger receives etcd's log. Default: warnings and errors as JSON lines on
	// standard error.
	Logger *zap.Logger

	quota   int64 // the one in use
	lock    *os.File
	server  *etcdserver.EtcdServer
	client  *kubernetes.Client
	peers   *peerServer
	keeper  *spaceKeeper
	kept    sync.WaitGroup
	started atomic.Bool
	stopped chan struct{}
	failed  chan struct{}

	rpcOnce sync.Once
	rpc     *grpc.Server
	pipe    *bufconn.Listener
}

var _ Backend = &Etcd{}

// Embedded returns an etcd server that keeps its data in dir.
func Embedded(dir string) *Etcd {
	return &Etcd{Dir: dir, stopped: make(chan struct{}), failed: make(chan struct{})}
}

// Start locks the data directory, opens or creates the database and waits until
// the member has a leader.
func (e *Etcd) Start(ctx context.Context) (*kubernetes.Client, error) { //nolint:cyclop // its steps in their order
	if err := e.lockDir(); err != nil {
		return nil, err
	}
	reserve := newReserve(e.Dir, e.Reserve)
	if err := reserve.release(); err != nil {
		return nil, err
	}
	logger, err := e.logger()
	if err != nil {
		return nil, err
	}
	cfg, err := e.serverConfig(logger)
	if err != nil {
		return nil, err
	}
	// Only the first member of a new store is alone for sure.
	isNew := cfg.NewCluster && !wal.Exist(cfg.WALDir())
	server, err := etcdserver.NewServer(cfg)
	if err != nil {
		return nil, fmt.Errorf("cannot open the database in %s: %w", e.Dir, err)
	}
	e.server = server
	server.Start()
	if e.PeerListener != nil {
		e.peers = servePeers(e.PeerListener, logger, server)
	}
	if isNew {
		e.elect(ctx)
	}

	select {
	case <-server.ReadyNotify():
	case <-server.StopNotify():
		return nil, fmt.Errorf("cannot start the database in %s: it stopped", e.Dir)
	case <-ctx.Done():
		return nil, fmt.Errorf("cannot start the database in %s: %w", e.Dir, context.Cause(ctx))
	}
	if err := e.updatePeerURL(ctx); err != nil {
		logger.Warn("Cannot update the peer URL of the member", zap.Error(err))
	}

	if err := e.keepSpace(ctx, reserve); err != nil {
		return nil, err
	}
	e.client = e.newClient()
	e.started.Store(true)
	go e.watchServer()
	return e.client, nil
}

// newClient returns a client that calls the server directly.
func (e *Etcd) newClient() *kubernetes.Client {
	client := &kubernetes.Client{Client: v3client.New(e.server)}
	limit := &creationLimit{
		Interface: client,
		usage:     e.usage,
		free:      func() (int64, error) { return freeSpace(e.Dir) },
		internal:  e.IsInternal,
		relieve:   e.keeper.ask,
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
	e.keeper = &spaceKeeper{
		clock:    e.Clock,
		database: e,
		free:     reserve.free,
		asked:    make(chan struct{}, 1),
		observed: func(usage Usage, alarmed bool) {
			observed.observe(usage, alarmed)
			if err := reserve.set(); err != nil {
				klog.ErrorS(err, "Cannot reserve space on the volume of the store")
			}
		},
	}
	if e.Clock == nil {
		e.keeper.clock = clock.RealClock{}
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
			close(e.failed)
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
		Defragment: e.defragment,
		Usage:      e.usage,
		Alarms:     e.alarms,
		Disarm:     e.disarm,
		Checks:     e.checks,
	}
}

// Dial opens an in-memory gRPC connection. The gRPC server behind it starts
// with the first call.
func (e *Etcd) Dial(ctx context.Context) (net.Conn, error) {
	e.rpcOnce.Do(func() {
		e.pipe = bufconn.Listen(pipeBuffer)
		e.rpc = grpc.NewServer()
		etcdserverpb.RegisterKVServer(e.rpc, v3rpc.NewQuotaKVServer(e.server))
		etcdserverpb.RegisterWatchServer(e.rpc, v3rpc.NewWatchServer(e.server))
		etcdserverpb.RegisterLeaseServer(e.rpc, v3rpc.NewQuotaLeaseServer(e.server))
		etcdserverpb.RegisterMaintenanceServer(e.rpc, versionOverride{v3rpc.NewMaintenanceServer(e.server, nil)})
		go func() { _ = e.rpc.Serve(e.pipe) }()
	})
	conn, err := e.pipe.DialContext(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot dial the embedded database: %w", err)
	}
	return conn, nil
}

// versionOverride reports an old version of etcd, one that cannot report the
// progress of a watch. The API server then reads consistent lists from the
// store, which is a call of less than a millisecond here. Its cache would wait
// a tenth of a second for such a report.
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
		close(e.stopped)
	}
	// From here on nobody may start the gRPC server.
	e.rpcOnce.Do(func() {})
	if e.rpc != nil {
		e.rpc.Stop()
	}
	if e.client != nil {
		_ = e.client.Close()
	}
	e.kept.Wait()
	e.peers.stop()
	if e.server != nil {
		e.server.Stop()
	}
	if e.lock != nil {
		_ = e.lock.Close()
	}
}
