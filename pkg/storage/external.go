package storage

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"go.etcd.io/etcd/client/v3/namespace"
	"go.etcd.io/etcd/server/v3/proxy/grpcproxy"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"k8s.io/component-base/metrics"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

const (
	// connectTimeout bounds one connection to a store, with its TLS handshake.
	connectTimeout = 5 * time.Second
	// keepAliveTime and keepAliveTimeout detect a broken connection. The API server uses the same
	// values.
	keepAliveTime    = 30 * time.Second
	keepAliveTimeout = 10 * time.Second
	// txnWrites is below the 128 that etcd allows by default.
	txnWrites = 100
	// maxSendBytes is the largest request, as in the API server's own client. The
	// server has a lower limit.
	maxSendBytes = 16 * mib
)

// External is a [Backend] that uses an etcd outside of the process. Several virtual
// clusters can share the etcd: each has its keys under a prefix. Its fields may be set
// before Start.
type External struct {
	// Endpoints are the URLs of the members, all with https:// or all with http://.
	Endpoints []string

	// Prefix is the prefix of all keys of the virtual cluster. It starts and ends with "/". The
	// rest of each key starts with "/" too, so that prefixes can be nested.
	Prefix string

	// TLS has the files for https:// endpoints. They are read at each connection.
	TLS TLSFiles

	// IsInternal reports whether a request comes from a part of this process.
	// Default: no request does.
	IsInternal func(ctx context.Context) bool

	// Register registers the metrics. Default: they are not kept.
	Register func(metrics.Registerable) error

	// Clock drives the probes. Default: the real one.
	Clock clock.WithTicker

	// Waiter waits while the etcd cannot be used.
	Waiter Waiter

	client *kubernetes.Client
	// probes is the store of the monitor. Users of the client may replace its own.
	probes  clientv3.KV
	monitor atomic.Pointer[monitor]
	running sync.WaitGroup
	stop    context.CancelFunc

	rpc rpcPipe
}

var _ Backend = &External{}

// Start connects to the etcd and returns once it can be used. While it cannot, Start
// waits and reports why.
func (x *External) Start(ctx context.Context) (*kubernetes.Client, error) {
	if x.Clock == nil {
		x.Clock = clock.RealClock{}
	}
	observed, err := newStoreMetrics(x.Register)
	if err != nil {
		return nil, err
	}
	observed.recordDown()
	var first *etcdserverpb.StatusResponse
	err = x.Waiter.Retry(ctx, func(ctx context.Context) (err error) {
		first, err = x.probe(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	if x.client, err = x.newClient(); err != nil {
		return nil, err
	}
	x.probes = x.client.KV
	watching := newMonitor(x, observed, first)
	x.monitor.Store(watching)
	ctx, x.stop = context.WithCancel(context.WithoutCancel(ctx))
	x.running.Go(func() { watching.run(ctx) })
	limit := &creationLimit{
		Interface: x.client,
		usage:     watching.lastUsage,
		internal:  x.IsInternal,
		relieve:   func() {},
	}
	x.client.Kubernetes = limit
	return x.client, nil
}

// newClient returns a client that only sees the keys below the prefix. It does not wait for a connection.
func (x *External) newClient() (*kubernetes.Client, error) {
	client, err := kubernetes.New(x.clientConfig(x.Endpoints))
	if err != nil {
		return nil, err
	}
	client.KV = &userKV{KV: namespace.NewKV(client.KV, x.Prefix)}
	client.Watcher = namespace.NewWatcher(client.Watcher, x.Prefix)
	client.Lease = namespace.NewLease(client.Lease, x.Prefix)
	return client, nil
}

// userKV is a key-value store whose user may lack the permission to compact, such as one with a permission
// on a prefix. The etcd must then compact by itself.
type userKV struct {
	clientv3.KV
	logged sync.Once
}

// Compact deletes old revisions. It does nothing without the permission.
func (kv *userKV) Compact(ctx context.Context, revision int64, opts ...clientv3.CompactOption) (*clientv3.CompactResponse, error) {
	response, err := kv.KV.Compact(ctx, revision, opts...)
	if !errors.Is(rpctypes.Error(err), rpctypes.ErrPermissionDenied) {
		return response, err
	}
	kv.logged.Do(func() {
		klog.InfoS("No permission to compact etcd. Start it with --auto-compaction-mode=periodic --auto-compaction-retention=5m")
	})
	return &clientv3.CompactResponse{}, nil
}

// clientConfig returns the configuration of a client of endpoints. The dialer does the TLS handshakes, so
// gRPC uses plain connections.
func (x *External) clientConfig(endpoints []string) clientv3.Config {
	plain := make([]string, 0, len(endpoints))
	for _, endpoint := range endpoints {
		plain = append(plain, "http://"+hostPort(endpoint))
	}
	return clientv3.Config{
		Endpoints:            plain,
		DialTimeout:          connectTimeout,
		DialKeepAliveTime:    keepAliveTime,
		DialKeepAliveTimeout: keepAliveTimeout,
		MaxCallSendMsgSize:   maxSendBytes,
		// The client logs each try of each request. The monitor logs what matters.
		Logger: zap.NewNop(),
		DialOptions: []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return x.dial(ctx, address)
		})},
	}
}

// Failed returns a channel that is never closed, because the client reconnects.
func (x *External) Failed() <-chan struct{} { return nil }

// Stop closes the connections.
func (x *External) Stop() {
	x.rpc.stop()
	if x.stop != nil {
		x.stop()
	}
	x.running.Wait()
	if x.client != nil {
		_ = x.client.Close()
	}
}

// Capabilities returns what one of several users of an etcd can do. Snapshots,
// defragmentation and alarms concern all of them.
func (x *External) Capabilities() Capabilities {
	return Capabilities{
		Progress:  true,
		Remote:    true,
		TxnWrites: txnWrites,
		Usage:     x.usage,
		Alarms:    x.listAlarms,
		Checks:    x.checks,
	}
}

// Dial opens an in-memory gRPC connection to the keys below the prefix. Libraries that
// bring their own client see the same store as the shared client.
func (x *External) Dial(ctx context.Context) (net.Conn, error) {
	return x.rpc.dial(ctx, func(rpc *grpc.Server) {
		kv, _ := grpcproxy.NewKvProxy(x.client.Client)
		etcdserverpb.RegisterKVServer(rpc, kv)
		etcdserverpb.RegisterLeaseServer(rpc, leaseServer{lease: x.client.Lease})
		etcdserverpb.RegisterMaintenanceServer(rpc, grpcproxy.NewMaintenanceProxy(x.client.Client))
	})
}

// leaseServer only grants leases, which is all that the libraries need: leases end by expiry.
type leaseServer struct {
	etcdserverpb.UnimplementedLeaseServer
	lease clientv3.Lease
}

// LeaseGrant creates a lease.
func (s leaseServer) LeaseGrant(ctx context.Context, request *etcdserverpb.LeaseGrantRequest) (*etcdserverpb.LeaseGrantResponse, error) {
	granted, err := s.lease.Grant(ctx, request.GetTTL())
	if err != nil {
		return nil, err
	}
	return &etcdserverpb.LeaseGrantResponse{Header: granted.ResponseHeader, ID: int64(granted.ID), TTL: granted.TTL}, nil
}

// hostPort returns the address in the URL of an endpoint.
func hostPort(endpoint string) string {
	_, address, _ := strings.Cut(endpoint, "://")
	return strings.TrimSuffix(address, "/")
}

// hasTLS reports whether the endpoints are reached over TLS.
func (x *External) hasTLS() bool { return strings.HasPrefix(x.Endpoints[0], "https://") }
