package storage

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"go.etcd.io/etcd/server/v3/config"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3rpc"
	"go.etcd.io/etcd/server/v3/features"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"
)

const (
	// member is the raft name of the only member. It is part of the data
	// directory: changing it makes an existing one unreadable.
	member = "sublet"

	// tick is the heartbeat of raft. A single member has nobody to send
	// heartbeats to; what matters is that it elects itself within two ticks of
	// its start, and that few ticks wake an idle process.
	tick          = 40 * time.Millisecond
	electionTicks = 2

	// keptHistory is how long old revisions stay readable, for watches that
	// resume and lists that continue. It is the API server's own default.
	keptHistory = 5 * time.Minute

	// snapshotEvery and catchUp bound the raft log that stays in memory. The
	// defaults keep fifteen thousand entries for slow followers; there are none.
	snapshotEvery = 2000
	catchUp       = 100

	// defragmentAt is the free space, in MiB, above which the database file is
	// rewritten at start, the one moment at which nobody waits for a write.
	defragmentAt = 100

	// pipeBuffer is the size of the in-memory connections of Dial, in bytes.
	pipeBuffer = 32 << 10
)

// DefaultQuota is the size in bytes that the database of an [Etcd] may reach
// before it refuses writes.
const DefaultQuota int64 = 2 << 30

// ErrLocked is returned by Start when another process holds the data directory.
var ErrLocked = errors.New("the data directory is in use by another process")

// Etcd is a [Backend] that runs an etcd server of one member in the process.
// Its fields may be set before Start.
type Etcd struct {
	// Dir is the data directory. It is created, with mode 0700, if missing.
	Dir string

	// NoSync skips every fsync, for stores whose content nobody will miss
	// after a crash. Default false: a write that was answered survives the
	// loss of power.
	NoSync bool

	// Quota is the size in bytes that the database may reach. Default
	// DefaultQuota.
	Quota int64

	// Logger receives etcd's log. Default: warnings and errors as JSON lines
	// on standard error.
	Logger *zap.Logger

	lock    *os.File
	server  *etcdserver.EtcdServer
	client  *kubernetes.Client
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
// the member is its own leader.
func (e *Etcd) Start(ctx context.Context) error {
	if err := os.MkdirAll(e.Dir, 0o700); err != nil {
		return fmt.Errorf("cannot create the data directory %s: %w", e.Dir, err)
	}
	// Opening a locked database blocks for good, so ask for a lock of our own
	// first, which answers at once.
	lock, err := lockFile(filepath.Join(e.Dir, "lock"))
	if err != nil {
		return fmt.Errorf("cannot open the data directory %s: %w", e.Dir, err)
	}
	e.lock = lock

	cfg, err := e.config()
	if err != nil {
		return err
	}
	server, err := etcdserver.NewServer(cfg)
	if err != nil {
		return fmt.Errorf("cannot open the database in %s: %w", e.Dir, err)
	}
	e.server = server
	server.Start()

	select {
	case <-server.ReadyNotify():
	case <-server.StopNotify():
		return fmt.Errorf("the database in %s stopped while it was starting", e.Dir)
	case <-ctx.Done():
		return fmt.Errorf("the database in %s is not ready: %w", e.Dir, context.Cause(ctx))
	}

	client := &kubernetes.Client{Client: v3client.New(server)}
	client.Kubernetes = client
	e.client = client
	go e.watchdog()
	return nil
}

// watchdog tells those who wait on Failed when the server ends by itself.
func (e *Etcd) watchdog() {
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

// Client returns the client that calls the server directly.
func (e *Etcd) Client() *kubernetes.Client { return e.client }

// Failed is closed when the server has stopped although nobody called Stop.
func (e *Etcd) Failed() <-chan struct{} { return e.failed }

// Dial opens an in-memory gRPC connection. The gRPC server behind it starts
// with the first call.
func (e *Etcd) Dial(ctx context.Context) (net.Conn, error) {
	e.rpcOnce.Do(func() {
		e.pipe = bufconn.Listen(pipeBuffer)
		e.rpc = grpc.NewServer()
		etcdserverpb.RegisterKVServer(e.rpc, v3rpc.NewQuotaKVServer(e.server))
		etcdserverpb.RegisterWatchServer(e.rpc, v3rpc.NewWatchServer(e.server))
		etcdserverpb.RegisterLeaseServer(e.rpc, v3rpc.NewQuotaLeaseServer(e.server))
		etcdserverpb.RegisterMaintenanceServer(e.rpc, modest{v3rpc.NewMaintenanceServer(e.server, nil)})
		go func() { _ = e.rpc.Serve(e.pipe) }()
	})
	conn, err := e.pipe.DialContext(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot reach the embedded database: %w", err)
	}
	return conn, nil
}

// modest names an old version when it is asked for the state of the server, one
// that cannot report the progress of a watch. The API server then answers
// consistent lists from the store, which is a call of less than a millisecond
// here, where its cache would wait a tenth of a second for such a report.
type modest struct{ etcdserverpb.MaintenanceServer }

// Status is the server's, under another version.
func (m modest) Status(ctx context.Context, req *etcdserverpb.StatusRequest) (*etcdserverpb.StatusResponse, error) {
	status, err := m.MaintenanceServer.Status(ctx, req)
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
	if e.server != nil {
		e.server.Stop()
	}
	if e.lock != nil {
		_ = e.lock.Close()
	}
}

// config is the configuration of a server of one member that nobody can reach
// from outside the process. Addresses are needed to name the member; nothing
// listens on them.
func (e *Etcd) config() (config.ServerConfig, error) {
	logger, err := e.logger()
	if err != nil {
		return config.ServerConfig{}, err
	}
	quota := e.Quota
	if quota == 0 {
		quota = DefaultQuota
	}
	nowhere := types.URLs{url.URL{Scheme: "http", Host: "127.0.0.1:2380"}}
	defaults := embed.NewConfig()
	return config.ServerConfig{
		Name:                member,
		PeerURLs:            nowhere,
		ClientURLs:          nowhere,
		DataDir:             filepath.Join(e.Dir, "etcd"),
		InitialPeerURLsMap:  types.URLsMap{member: nowhere},
		InitialClusterToken: member,
		NewCluster:          true,

		TickMs:                     uint(tick.Milliseconds()),
		ElectionTicks:              electionTicks,
		InitialElectionTickAdvance: true,
		PreVote:                    true,

		SnapshotCount:          snapshotEvery,
		SnapshotCatchUpEntries: catchUp,
		MaxSnapFiles:           2,
		MaxWALFiles:            2,
		UnsafeNoFsync:          e.NoSync,

		QuotaBackendBytes:                 quota,
		AutoCompactionMode:                embed.CompactorModePeriodic,
		AutoCompactionRetention:           keptHistory,
		BootstrapDefragThresholdMegabytes: defragmentAt,

		MaxTxnOps:                   defaults.MaxTxnOps,
		MaxRequestBytes:             defaults.MaxRequestBytes,
		MaxConcurrentStreams:        defaults.MaxConcurrentStreams,
		WarningApplyDuration:        defaults.WarningApplyDuration,
		WarningUnaryRequestDuration: defaults.WarningUnaryRequestDuration,
		DowngradeCheckTime:          time.Hour,
		CompactHashCheckTime:        defaults.CompactHashCheckTime,
		StrictReconfigCheck:         true,
		MaxLearners:                 defaults.MaxLearners,
		V2Deprecation:               defaults.V2DeprecationEffective(),
		BcryptCost:                  defaults.BcryptCost,
		ServerFeatureGate:           features.NewDefaultServerFeatureGate(member, logger),
		Logger:                      logger,
		Metrics:                     defaults.Metrics,
	}, nil
}
