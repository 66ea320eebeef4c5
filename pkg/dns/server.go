package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin/forward"
	"github.com/coredns/coredns/plugin/kubernetes"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	clientset "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/component-base/metrics"
	"k8s.io/klog/v2"
)

const (
	// defaultAddress is above 1024, so that no capability is needed.
	defaultAddress = ":1053"
	// apiInterval is how often an API server that does not answer is asked again.
	apiInterval = 200 * time.Millisecond
	// syncInterval is how often is looked whether all Services are known; CoreDNS
	// does not tell.
	syncInterval = 20 * time.Millisecond
	// stopGrace is how long queries that are being answered may take at the end.
	stopGrace = 2 * time.Second
)

// Options says what a [Server] needs.
type Options struct {
	// Virtual is how the virtual API server is reached. Required.
	Virtual *rest.Config
	// ClusterDomain is the domain of the cluster's names. Default: cluster.local.
	ClusterDomain string
	// Address is where queries come in, over UDP and TCP. Default: ":1053".
	Address string
	// Upstreams are the nameservers for all other names, as IP or IP:port.
	// Default: those in ResolvConf.
	Upstreams []string
	// ResolvConf is the file that names the nameservers outside. Default:
	// /etc/resolv.conf. If it is missing or names none, names outside the
	// cluster cannot be resolved.
	ResolvConf string
	// Register takes the metrics of the server. Default: they are not kept.
	Register func(metrics.Registerable) error
}

// Server is the DNS server of a virtual cluster.
type Server struct {
	api        clientset.Interface
	kubernetes *kubernetes.Kubernetes
	forward    *forward.Forward // nil if there is no nameserver outside
	server     *dnsserver.Server
	tcp        net.Listener
	udp        net.PacketConn
	ready      chan struct{}
}

// New makes a server and binds its address, so that an address that cannot be
// had is known at once. [Server.Run] serves, and gives the address back.
func New(options Options) (*Server, error) {
	if err := options.complete(); err != nil {
		return nil, fmt.Errorf("cannot make the DNS server: %w", err)
	}
	api, err := clientset.NewForConfig(options.Virtual)
	if err != nil {
		return nil, fmt.Errorf("cannot make the DNS server's client of the virtual cluster: %w", err)
	}
	s := &Server{api: api, ready: make(chan struct{})}
	if err := s.assemble(options); err != nil {
		return nil, fmt.Errorf("cannot make the DNS server: %w", err)
	}
	if s.tcp, s.udp, err = listen(options.Address); err != nil {
		return nil, fmt.Errorf("cannot bind the DNS server's address: %w", err)
	}
	return s, nil
}

// Addr is the host and port that the server is bound to.
func (s *Server) Addr() string { return s.tcp.Addr().String() }

// Ready is closed once every Service of the cluster is known. Before that the
// server answers too: names that are not known yet fail, and are not denied.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Run serves until ctx is done. It waits for the API server as long as it
// takes. It runs once.
func (s *Server) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if s.forward != nil {
		if err := s.forward.OnStartup(); err != nil {
			return fmt.Errorf("cannot start to forward DNS queries: %w", err)
		}
		defer func() { _ = s.forward.OnShutdown() }()
	}

	failed := make(chan error, 2)
	var running sync.WaitGroup
	running.Go(func() { failed <- s.server.Serve(s.tcp) })
	running.Go(func() { failed <- s.server.ServePacket(s.udp) })
	running.Go(func() { s.watch(ctx) })

	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
		if err == nil {
			err = errors.New("a listener was closed")
		}
		err = fmt.Errorf("DNS server stopped by itself: %w", err)
	}
	cancel()
	s.stop()
	running.Wait()
	return err
}

// stop ends both listeners. Queries that are being answered get a while.
func (s *Server) stop() {
	stopped := make(chan struct{})
	go func() {
		// The error is that the grace is over.
		_ = s.server.Stop()
		close(stopped)
	}()
	select {
	case <-stopped:
	case <-time.After(stopGrace):
	}
	// A listener whose server had not begun yet is closed by nobody else.
	_ = s.tcp.Close()
	_ = s.udp.Close()
}

// watch follows the Services of the virtual cluster until ctx is done.
func (s *Server) watch(ctx context.Context) {
	if s.awaitAPI(ctx) != nil {
		return
	}
	defer context.AfterFunc(ctx, func() { _ = s.kubernetes.APIConn.Stop() })()
	go s.announce(ctx)
	s.kubernetes.APIConn.Run()
}

// awaitAPI returns once the API server answers. The informers would wait too,
// but louder, and for up to half a minute too long.
func (s *Server) awaitAPI(ctx context.Context) error {
	said := false
	return wait.PollUntilContextCancel(ctx, apiInterval, true, func(ctx context.Context) (bool, error) {
		_, err := s.api.CoreV1().Namespaces().List(ctx, metav1.ListOptions{Limit: 1})
		if err != nil && !said {
			said = true
			klog.FromContext(ctx).V(2).Info("DNS waits for the virtual API server", "reason", err.Error())
		}
		return err == nil, nil
	})
}

// announce closes ready as soon as all is known.
func (s *Server) announce(ctx context.Context) {
	err := wait.PollUntilContextCancel(ctx, syncInterval, true, func(context.Context) (bool, error) {
		return s.kubernetes.APIConn.HasSynced(), nil
	})
	if err == nil {
		close(s.ready)
	}
}

// listen binds one port for both protocols. A port that the system chose for
// TCP may be taken for UDP; it then chooses another.
func listen(address string) (net.Listener, net.PacketConn, error) {
	const attempts = 10
	var errs []error
	for range attempts {
		tcp, err := net.Listen("tcp", address)
		if err != nil {
			return nil, nil, err
		}
		udp, err := net.ListenPacket("udp", tcp.Addr().String())
		if err == nil {
			return tcp, udp, nil
		}
		errs = append(errs, err)
		_ = tcp.Close()
		if tcp.Addr().String() == address {
			break
		}
	}
	return nil, nil, errors.Join(errs...)
}
