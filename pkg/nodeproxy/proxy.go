package nodeproxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/component-base/metrics"
	"k8s.io/klog/v2"

	"github.com/sublet-dev/sublet/pkg/translate"
)

const (
	// connectionBuffer is what each direction of a connection in memory holds,
	// in bytes. It is about what one TLS record carries, twice.
	connectionBuffer = 32 << 10
	// idleTimeout closes connections that the API server keeps for reuse.
	idleTimeout = 30 * time.Second
	// headerTimeout bounds how long a connection may take to say what it wants.
	headerTimeout = 10 * time.Second
)

// HostPods finds host pods. A cache is the right answer where there is one, as
// every request asks.
type HostPods interface {
	// HostPod is the host pod of that name, or an error that apierrors.IsNotFound
	// recognises if there is none.
	HostPod(ctx context.Context, key types.NamespacedName) (metav1.Object, error)
}

// Options says what a [Proxy] needs.
type Options struct {
	// Host is how the host's API is reached. Its timeout holds for nothing but
	// finding pods: logs are followed for as long as the tenant wants. Required.
	Host *rest.Config
	// Cluster is the identity of the virtual cluster. Required.
	Cluster translate.Cluster
	// VirtualPod returns the virtual pod of that name, or an error that
	// apierrors.IsNotFound recognises if there is none. Only the containers of the
	// virtual pod are served, not those that the host added to the copy. Required.
	VirtualPod func(ctx context.Context, key types.NamespacedName) (*corev1.Pod, error)
	// Pods finds host pods. Default: one read of the pod's metadata from the
	// host's API for each request.
	Pods HostPods
	// Register takes the metrics of the proxy. Default: they are not kept.
	Register func(metrics.Registerable) error
}

// Proxy stands for all kubelets of a virtual cluster.
type Proxy struct {
	cluster  translate.Cluster
	pods     HostPods
	virtual  func(ctx context.Context, key types.NamespacedName) (*corev1.Pod, error)
	host     *host
	metrics  *proxyMetrics
	listener *memoryListener
	server   *http.Server
	serving  gate
}

// New makes a proxy. It serves once [Proxy.Run] runs; whoever dials before
// waits.
func New(options Options) (*Proxy, error) {
	if options.Host == nil {
		return nil, errors.New("cannot make the node proxy: no configuration of the host given")
	}
	if options.VirtualPod == nil {
		return nil, errors.New("cannot create node proxy: no reader of virtual pods given")
	}
	h, err := newHost(options.Host)
	if err != nil {
		return nil, fmt.Errorf("cannot make the node proxy's client of the host: %w", err)
	}
	pods := options.Pods
	if pods == nil {
		if pods, err = newLivePods(options.Host); err != nil {
			return nil, fmt.Errorf("cannot make the node proxy's reader of host pods: %w", err)
		}
	}
	m, err := newMetrics(options.Register)
	if err != nil {
		return nil, err
	}
	certificate, err := selfSigned(time.Now())
	if err != nil {
		return nil, fmt.Errorf("cannot make the node proxy's certificate: %w", err)
	}
	p := &Proxy{
		cluster:  options.Cluster,
		pods:     pods,
		virtual:  options.VirtualPod,
		host:     h,
		metrics:  m,
		listener: newMemoryListener(),
	}
	p.server = &http.Server{
		Handler: p.routes(),
		// HTTP/1.1 alone: streams need it, and a connection in memory costs less
		// than a second protocol.
		TLSConfig: &tls.Config{
			MinVersion:             tls.VersionTLS13,
			Certificates:           []tls.Certificate{certificate},
			NextProtos:             []string{"http/1.1"},
			SessionTicketsDisabled: true,
		},
		TLSNextProto:      map[string]func(*http.Server, *tls.Conn, http.Handler){},
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		ErrorLog:          log.New(quietLog{}, "", 0),
	}
	return p, nil
}

// Dial opens a connection to a kubelet, any kubelet: network and address are
// not looked at. It fits wherever a dialer of the network fits. What comes over
// the connection is expected to be TLS; nobody can stand in between, so the
// certificate need not be verified.
func (p *Proxy) Dial(ctx context.Context, _, address string) (net.Conn, error) {
	conn, err := p.listener.dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot reach the node proxy for %s: %w", address, err)
	}
	return conn, nil
}

// Run serves until ctx is done, then breaks every connection and returns once
// nothing of it is left. It runs once.
func (p *Proxy) Run(ctx context.Context) error {
	// Requests and streams end with this context.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p.server.BaseContext = func(net.Listener) context.Context { return ctx }

	// Closing fails only for listeners on a network.
	defer func() { _ = p.listener.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = p.server.Close() })
	defer stop()

	err := p.server.Serve(tls.NewListener(p.listener, p.server.TLSConfig))
	cancel()
	p.serving.close()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("node proxy stopped: %w", err)
}

// gate lets requests in until it is closed. The HTTP server alone would forget
// those whose connection it closed or gave away.
type gate struct {
	mu     sync.Mutex
	closed bool
	inside sync.WaitGroup
}

// enter reports whether the request may be served; whoever was let in leaves.
func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		g.inside.Add(1)
	}
	return !g.closed
}

// leave ends what enter began.
func (g *gate) leave() { g.inside.Done() }

// close lets nobody in any more and waits until all have left.
func (g *gate) close() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.inside.Wait()
}

// quietLog takes what net/http has to say, mostly that a peer went away.
type quietLog struct{}

// Write implements io.Writer.
func (quietLog) Write(line []byte) (int, error) {
	klog.V(4).InfoS("Node proxy connection failed", "reason", strings.TrimSpace(string(line)))
	return len(line), nil
}
