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

	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
	"github.com/sublet-dev/sublet/pkg/translate"
)

const (
	// connectionBuffer is the size of each direction of a connection in memory, in
	// bytes. It is about twice the size of a TLS record.
	connectionBuffer = 32 << 10
	// idleTimeout closes connections that the API server keeps for reuse.
	idleTimeout = 30 * time.Second
	// headerTimeout bounds how long a connection may take to send its request.
	headerTimeout = 10 * time.Second
	// certificateLife is longer than any process runs.
	certificateLife = 100 * 365 * 24 * time.Hour
)

// HostPods reads host pods. Use a cache where there is one, as every request needs a
// pod.
type HostPods interface {
	// HostPod returns the host pod of that name, or an error that apierrors.IsNotFound
	// recognises if there is none.
	HostPod(ctx context.Context, key types.NamespacedName) (metav1.Object, error)
}

// Options configures a [Proxy].
type Options struct {
	// Host is the configuration for the host's API server. Its timeout applies only
	// to reads of pods: a tenant may follow a log without limit. Required.
	Host *rest.Config
	// Cluster is the identity of the virtual cluster. Required.
	Cluster translate.Cluster
	// VirtualPod returns the virtual pod of that name, or an error that
	// apierrors.IsNotFound recognises if there is none. Only the containers of the
	// virtual pod are served, not those that the host added to the copy. Required.
	VirtualPod func(ctx context.Context, key types.NamespacedName) (*corev1.Pod, error)
	// Pods reads host pods. Default: each request reads the pod's metadata from the
	// host's API server.
	Pods HostPods
	// MaxStreams is how many requests are relayed at once. Default: no limit.
	MaxStreams int64
	// Register registers the metrics of the proxy. Default: there are no metrics.
	Register func(metrics.Registerable) error
}

// Proxy answers for all kubelets of a virtual cluster.
type Proxy struct {
	cluster  translate.Cluster
	pods     HostPods
	virtual  func(ctx context.Context, key types.NamespacedName) (*corev1.Pod, error)
	host     *host
	metrics  *proxyMetrics
	listener *memoryListener
	server   *http.Server
	requests requestTracker
	streams  streamLimit
}

// New creates a proxy. It serves while [Proxy.Run] runs. A dial before that waits.
func New(options Options) (*Proxy, error) {
	if options.Host == nil {
		return nil, errors.New("cannot create node proxy: no configuration of the host given")
	}
	if options.VirtualPod == nil {
		return nil, errors.New("cannot create node proxy: no reader of virtual pods given")
	}
	h, err := newHost(options.Host)
	if err != nil {
		return nil, fmt.Errorf("cannot create node proxy's client of the host: %w", err)
	}
	pods := options.Pods
	if pods == nil {
		if pods, err = newLivePods(options.Host); err != nil {
			return nil, fmt.Errorf("cannot create node proxy's reader of host pods: %w", err)
		}
	}
	m, err := newMetrics(options.Register)
	if err != nil {
		return nil, err
	}
	// The API server requires TLS of a kubelet. Nobody verifies the certificate, as the connection never
	// leaves the process.
	certificate, err := pki.SelfSigned(time.Now(), certificateLife, "sublet-node-proxy") //nolint:forbidigo // nobody verifies the certificate
	if err != nil {
		return nil, fmt.Errorf("cannot create node proxy's certificate: %w", err)
	}
	p := &Proxy{
		cluster:  options.Cluster,
		pods:     pods,
		virtual:  options.VirtualPod,
		host:     h,
		metrics:  m,
		listener: newMemoryListener(),
		streams:  streamLimit{most: options.MaxStreams},
	}
	p.server = &http.Server{
		Handler: p.newHandler(),
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

// Dial opens a connection to any kubelet: it ignores network and address, and has the
// form of a network dialer. The client must speak TLS. It need not verify the
// certificate, because nobody can intercept the connection.
func (p *Proxy) Dial(ctx context.Context, _, address string) (net.Conn, error) {
	conn, err := p.listener.dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot dial node proxy for %s: %w", address, err)
	}
	return conn, nil
}

// Run serves until ctx is done. Then it breaks every connection, and returns when all
// requests have ended. It runs once.
func (p *Proxy) Run(ctx context.Context) error {
	// Requests and streams end with this context.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p.server.BaseContext = func(net.Listener) context.Context { return ctx }

	// Only a listener on a network can fail to close.
	defer func() { _ = p.listener.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = p.server.Close() })
	defer stop()

	err := p.server.Serve(tls.NewListener(p.listener, p.server.TLSConfig))
	cancel()
	p.requests.closeAndWait()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("cannot serve the node proxy: %w", err)
}

// requestTracker counts the requests in progress, and can be closed for new ones. The
// HTTP server does not track requests whose connection it has closed or passed on.
type requestTracker struct {
	mu     sync.Mutex
	closed bool
	open   sync.WaitGroup
}

// add counts a request, and reports whether it may be served. The caller must call
// done for a request that was counted.
func (r *requestTracker) add() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed {
		r.open.Add(1)
	}
	return !r.closed
}

// done ends a request.
func (r *requestTracker) done() { r.open.Done() }

// closeAndWait rejects new requests and waits until all others have ended.
func (r *requestTracker) closeAndWait() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.open.Wait()
}

// quietLog writes the log of net/http at a high level. Most lines are about clients
// that disconnected.
type quietLog struct{}

// Write implements io.Writer.
func (quietLog) Write(line []byte) (int, error) {
	klog.V(4).InfoS("Node proxy connection failed", "reason", strings.TrimSpace(string(line)))
	return len(line), nil
}
