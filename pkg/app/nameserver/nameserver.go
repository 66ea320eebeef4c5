package nameserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/api/release"
	"github.com/sublet-dev/sublet/pkg/dns"
)

const (
	// headerTimeout bounds how long a probe may take to send its request.
	headerTimeout = 5 * time.Second
	// drainTime is how long open probes may take when the server stops.
	drainTime = time.Second
)

// Options configures the DNS server.
type Options struct {
	// Server is the URL of the virtual API server.
	Server string
	// CredentialDir is where the Secret [release.Release.DNS] is mounted.
	CredentialDir string
	// Networking has the settings below networking.
	Networking v1alpha1.Networking
	// Address serves DNS over UDP and TCP.
	Address string
	// HealthAddress serves /livez and /readyz over HTTP.
	HealthAddress string
	// ResolvConf lists the upstream nameservers. Default: /etc/resolv.conf.
	ResolvConf string
}

// Server is a DNS server with health probes.
type Server struct {
	dns    *dns.Server
	pods   *dns.Pods
	api    kubernetes.Interface
	health net.Listener
	// podsKnown is closed when the addresses of all pods are known.
	podsKnown chan struct{}
}

// New binds the addresses. It does not need the virtual API server.
func New(ctx context.Context, options Options) (*Server, error) {
	config := &rest.Config{
		Host: options.Server, QPS: -1, UserAgent: "sublet-dns",
		ContentConfig: rest.ContentConfig{
			ContentType:        "application/vnd.kubernetes.protobuf",
			AcceptContentTypes: "application/vnd.kubernetes.protobuf,application/json",
		},
		// client-go reloads the files when they change.
		TLSClientConfig: rest.TLSClientConfig{
			CAFile:   filepath.Join(options.CredentialDir, corev1.ServiceAccountRootCAKey),
			CertFile: filepath.Join(options.CredentialDir, corev1.TLSCertKey),
			KeyFile:  filepath.Join(options.CredentialDir, corev1.TLSPrivateKeyKey),
		},
	}
	away := &atomic.Bool{}
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return waitingTransport{next: next, clock: clock.RealClock{}, away: away}
	})
	api, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("cannot create client of the virtual API server: %w", err)
	}
	ranges, err := readRanges(filepath.Join(options.CredentialDir, release.DNSServiceRangesKey))
	if err != nil {
		return nil, err
	}
	settings := options.Networking.Advanced
	hosts, rewrite := options.Networking.FixedNames()
	allowed, err := v1alpha1.ParseCIDRs(settings.DNS.AllowedCIDRs)
	if err != nil {
		return nil, fmt.Errorf("networking.advanced.dns.allowedCIDRs: %w", err)
	}
	s := &Server{pods: dns.NewPods(), api: api, podsKnown: make(chan struct{})}
	s.dns, err = dns.New(dns.Options{
		Virtual:          config,
		ClusterDomain:    settings.ClusterDomain,
		Address:          options.Address,
		ResolvConf:       options.ResolvConf,
		Pods:             s.pods,
		Allowed:          allowed,
		QueriesPerSecond: float32(settings.DNS.QueriesPerSecond),
		HostRanges:       ranges,
		Hosts:            hosts,
		Rewrite:          rewrite,
		Forward:          settings.DNS.Forward,
		ServeStale:       true,
	})
	if err != nil {
		return nil, err
	}
	s.health, err = new(net.ListenConfig).Listen(ctx, "tcp", options.HealthAddress)
	if err != nil {
		return nil, fmt.Errorf("cannot serve probes: %w", err)
	}
	return s, nil
}

// readRanges reads the Service CIDRs of the host from a file.
func readRanges(path string) ([]netip.Prefix, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the IP ranges of Services: %w", err)
	}
	ranges, err := v1alpha1.ParseCIDRs(strings.Split(strings.TrimSpace(string(text)), ","))
	if err != nil {
		return nil, fmt.Errorf("cannot use the IP ranges of Services: %w", err)
	}
	return ranges, nil
}

// Run serves until ctx is done. It runs once.
func (s *Server) Run(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /readyz", s.serveReady)
	probes := &http.Server{Handler: mux, ReadHeaderTimeout: headerTimeout}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.dns.Run(ctx) })
	group.Go(func() error { return s.watchPods(ctx) })
	group.Go(func() error {
		if err := probes.Serve(s.health); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("cannot serve probes: %w", err)
		}
		return nil
	})
	group.Go(func() error {
		<-ctx.Done()
		draining, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
		defer cancel()
		_ = probes.Shutdown(draining) // It only fails if drainTime is over.
		return nil
	})
	return group.Wait()
}

// serveReady returns 200 once all names and pods are known, and from then on even if the API
// server becomes unavailable.
func (s *Server) serveReady(w http.ResponseWriter, _ *http.Request) {
	for what, known := range map[string]<-chan struct{}{"names": s.dns.Ready(), "pods": s.podsKnown} {
		select {
		case <-known:
		default:
			http.Error(w, "the "+what+" of the virtual cluster are not known yet", http.StatusServiceUnavailable)
			return
		}
	}
}

// watchPods passes the virtual pods to the DNS server until ctx ends.
func (s *Server) watchPods(ctx context.Context) error {
	factory := informers.NewSharedInformerFactoryWithOptions(s.api, 0, informers.WithTransform(onlyAddresses))
	informer := factory.Core().V1().Pods().Informer()
	registration, err := informer.AddEventHandler(s.pods)
	if err != nil {
		return fmt.Errorf("cannot watch virtual pods: %w", err)
	}
	factory.StartWithContext(ctx)
	defer factory.Shutdown()
	for !registration.HasSynced() {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(syncInterval):
		}
	}
	klog.FromContext(ctx).Info("Knows the pods of the virtual cluster")
	close(s.podsKnown)
	<-ctx.Done()
	return nil
}

// syncInterval is the time between two checks whether all pods are known.
const syncInterval = 50 * time.Millisecond

// onlyAddresses removes everything from a pod that DNS does not need.
func onlyAddresses(o any) (any, error) {
	pod, ok := o.(*corev1.Pod)
	if !ok {
		return o, nil
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID, ResourceVersion: pod.ResourceVersion},
		Spec:       corev1.PodSpec{Hostname: pod.Spec.Hostname, Subdomain: pod.Spec.Subdomain, HostNetwork: pod.Spec.HostNetwork},
		Status:     corev1.PodStatus{Phase: pod.Status.Phase, PodIP: pod.Status.PodIP, PodIPs: pod.Status.PodIPs},
	}, nil
}
