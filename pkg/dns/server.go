package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin/forward"
	"github.com/coredns/coredns/plugin/kubernetes"
	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	clientset "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/component-base/metrics"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/pkg/connlimit"
)

const (
	// defaultAddress is above 1024, so that no capability is needed.
	defaultAddress = ":1053"
	// apiInterval is the time between two attempts to reach the API server.
	apiInterval = 200 * time.Millisecond
	// syncInterval is the time between two checks whether all Services are known.
	// CoreDNS has no channel for that.
	syncInterval = 20 * time.Millisecond
	// stopGrace is how long queries in progress may take at the end.
	stopGrace = 2 * time.Second
	// maxConnections bounds the TCP connections. Most queries come by UDP.
	maxConnections = 512
)

// Options configures a [Server].
type Options struct {
	// Virtual is the configuration for the virtual API server. Required.
	Virtual *rest.Config
	// ClusterDomain is the domain of the cluster's names. Default: cluster.local.
	ClusterDomain string
	// Address is where the server listens, on UDP and TCP. Default: ":1053".
	Address string
	// Upstreams are the nameservers for all other names, as IP or IP:port.
	// Default: those in ResolvConf.
	Upstreams []string
	// ResolvConf is the file that lists the nameservers outside. Default:
	// /etc/resolv.conf. If it is missing or lists none, names outside the cluster
	// cannot be resolved.
	ResolvConf string
	// Pods has the addresses that get answers. Default: nil, every address does.
	Pods *Pods
	// Allowed are addresses that get answers in addition to those of Pods. Default: none.
	Allowed []netip.Prefix
	// QueriesPerSecond limits the queries of each address. Twice as many may come at
	// once. Default: 1000.
	QueriesPerSecond float32
	// HostRanges are addresses of the host's cluster. Their names do not exist here, like
	// those of private addresses. Default: none.
	HostRanges []netip.Prefix
	// Hosts are names with a fixed address, name -> IP. Default: none.
	Hosts map[string]string
	// Rewrite are names that are answered like others, name -> name. Default: none.
	Rewrite map[string]string
	// Forward are domains with a nameserver of their own, domain -> IP or IP:port. Neither
	// their names nor their addresses are hidden. Default: none.
	Forward map[string]string
	// ServeStale answers a name outside from the cache for up to an hour after its end, if
	// the nameservers outside do not respond. Default: false.
	ServeStale bool
	// Clock is the time. Default: the real one.
	Clock clock.Clock
	// Register registers the metrics of the server. Default: there are no metrics.
	Register func(metrics.Registerable) error
}

// Server is the DNS server of a virtual cluster.
type Server struct {
	api        clientset.Interface
	kubernetes *kubernetes.Kubernetes
	forwards   []*forward.Forward
	server     *dnsserver.Server
	tcp        net.Listener
	udp        net.PacketConn
	ready      chan struct{}
}

// New creates a server and binds its address, so that it fails at once if the address
// is not available. [Server.Run] serves, and releases the address at its end.
func New(options Options) (*Server, error) {
	if err := options.complete(); err != nil {
		return nil, fmt.Errorf("cannot create DNS server: %w", err)
	}
	api, err := clientset.NewForConfig(options.Virtual)
	if err != nil {
		return nil, fmt.Errorf("cannot create DNS server's client of the virtual cluster: %w", err)
	}
	s := &Server{api: api, ready: make(chan struct{})}
	if err := s.assemble(options); err != nil {
		return nil, fmt.Errorf("cannot create DNS server: %w", err)
	}
	s.tcp, s.udp, err = listen(context.Background(), options.Address) //nolint:forbidigo // New does not wait
	if err != nil {
		return nil, fmt.Errorf("cannot bind address of DNS server: %w", err)
	}
	return s, nil
}

// Addr returns the host and port of the server.
func (s *Server) Addr() string { return s.tcp.Addr().String() }

// Ready returns a channel that closes when all Services of the cluster are known.
// Before that, unknown names fail with SERVFAIL and not with NXDOMAIN.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Run serves until ctx is done. It waits for the API server without limit. It runs
// once.
func (s *Server) Run(ctx context.Context) error {
	for _, f := range s.forwards {
		if err := f.OnStartup(); err != nil {
			return fmt.Errorf("cannot start forwarding of DNS queries: %w", err)
		}
		defer func() { _ = f.OnShutdown() }()
	}

	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return stopError(ctx, s.server.Serve(s.tcp)) })
	group.Go(func() error { return stopError(ctx, s.server.ServePacket(s.udp)) })
	group.Go(func() error { s.watch(ctx); return nil })
	group.Go(func() error { <-ctx.Done(); s.stop(); return nil })
	return group.Wait()
}

// stopError returns why a listener has ended, or nil if ctx was done before.
func stopError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil //nolint:nilerr // the listener was closed on purpose
	}
	if err == nil {
		err = errors.New("a listener was closed")
	}
	return fmt.Errorf("cannot serve DNS: %w", err)
}

// stop closes both listeners. Queries in progress have stopGrace to end.
func (s *Server) stop() {
	stopped := make(chan struct{})
	go func() {
		// Its error is that stopGrace is over.
		_ = s.server.Stop()
		close(stopped)
	}()
	select {
	case <-stopped:
	case <-time.After(stopGrace): //nolint:forbidigo // the queries have this long
	}
	// Stop does not close a listener whose server has not started yet.
	_ = s.tcp.Close()
	_ = s.udp.Close()
}

// watch watches the Services of the virtual cluster until ctx is done.
func (s *Server) watch(ctx context.Context) {
	if s.awaitAPI(ctx) != nil {
		return
	}
	defer context.AfterFunc(ctx, func() { _ = s.kubernetes.APIConn.Stop() })()
	go s.closeReady(ctx)
	s.kubernetes.APIConn.Run()
}

// awaitAPI waits until the API server responds. The informers would wait too, but with
// an error in the log for each attempt, and for up to 30 s longer.
func (s *Server) awaitAPI(ctx context.Context) error {
	logged := false
	return wait.PollUntilContextCancel(ctx, apiInterval, true, func(ctx context.Context) (bool, error) {
		_, err := s.api.CoreV1().Namespaces().List(ctx, metav1.ListOptions{Limit: 1})
		if err != nil && !logged {
			logged = true
			klog.FromContext(ctx).V(2).Info("DNS server waits for virtual API server", "reason", err.Error())
		}
		return err == nil, nil
	})
}

// closeReady closes ready when all Services are known.
func (s *Server) closeReady(ctx context.Context) {
	err := wait.PollUntilContextCancel(ctx, syncInterval, true, func(context.Context) (bool, error) {
		return s.kubernetes.APIConn.HasSynced(), nil
	})
	if err == nil {
		close(s.ready)
	}
}

// listen binds one port for both protocols. If the system chose a port for TCP that is
// in use for UDP, it tries another.
func listen(ctx context.Context, address string) (net.Listener, net.PacketConn, error) {
	const attempts = 10
	var config net.ListenConfig
	var errs []error
	for range attempts {
		tcp, err := config.Listen(ctx, "tcp", address)
		if err != nil {
			return nil, nil, err
		}
		udp, err := config.ListenPacket(ctx, "udp", tcp.Addr().String())
		if err == nil {
			return connlimit.Listener(tcp, "dns", func() int64 { return maxConnections }), udp, nil
		}
		errs = append(errs, err)
		_ = tcp.Close()
		if tcp.Addr().String() == address {
			break
		}
	}
	return nil, nil, errors.Join(errs...)
}
