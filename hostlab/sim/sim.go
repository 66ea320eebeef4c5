// Package sim starts a throw-away host cluster inside the calling process: no
// root, no container engine, nothing left behind.
//
// It is a real cluster as far as its API goes. The API server and the controllers are
// those of pkg/controlplane. Their store is embedded, in a temporary folder and without
// fsync. The scheduler is the real kube-scheduler. Only the nodes do not exist: KWOK
// acts as every kubelet. A pod that is bound to a node is Running a moment later, and
// is gone a moment after its deletion. Nothing runs in such a pod: no logs, no exec, no
// network. Nothing judges nodes by their heartbeats either: a node keeps the status
// that it has.
//
// The demo, the benchmark and the tests that need many nodes use it. What needs
// real containers uses the host of the parent folder.
package sim

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.uber.org/zap"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"github.com/sublet-dev/sublet/pkg/controlplane"
	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
	"github.com/sublet-dev/sublet/pkg/storage"
)

// Options configure a host. The zero value is a host without nodes.
type Options struct {
	// Nodes is the number of nodes to start with. Default 0.
	Nodes int

	// NodeCPU, NodeMemory and NodePods are what each node offers. Default 32,
	// 256Gi and 110.
	NodeCPU, NodeMemory, NodePods string

	// NodeGPUs is how many nvidia.com/gpu each node offers. Default none.
	NodeGPUs int

	// NodeImages is how many images each node reports, as a kubelet reports up
	// to 50 of what it has pulled. Default none.
	NodeImages int

	// Heartbeat is how often each node writes its status although nothing has
	// changed. Default 5 minutes, as a kubelet. Negative: never.
	Heartbeat time.Duration
}

func (o Options) withDefaults() Options {
	if o.NodeCPU == "" {
		o.NodeCPU = "32"
	}
	if o.NodeMemory == "" {
		o.NodeMemory = "256Gi"
	}
	if o.NodePods == "" {
		o.NodePods = "110"
	}
	if o.Heartbeat == 0 {
		o.Heartbeat = 5 * time.Minute
	}
	return o
}

// The addresses of the host. Nothing answers on them: no packet of a simulated
// pod ever leaves for anywhere.
const (
	serviceCIDR       = "10.96.0.0/16"
	kubernetesService = "10.96.0.1"
	dnsService        = "10.96.0.10"
)

// Host is a running host cluster.
type Host struct {
	options Options
	address string
	bundle  *pki.Bundle
	plane   *controlplane.ControlPlane
	client  kubernetes.Interface

	// stopParts stops the clients of the cluster, and then stopPlane stops the cluster.
	// An API server that loses its store under open watches takes long to end.
	stopParts, stopPlane context.CancelFunc
	parts                sync.WaitGroup
	planeDone            chan struct{}
	stopped              sync.Once
	dir                  string

	mu    sync.Mutex
	err   error
	nodes []string
}

// Start starts a host and returns once its nodes are ready for pods. The context bounds the
// start alone: the host runs until [Host.Stop].
func Start(ctx context.Context, o Options) (*Host, error) {
	dir, err := os.MkdirTemp("", "sublet-host-")
	if err != nil {
		return nil, fmt.Errorf("cannot create the folder of the host's store: %w", err)
	}
	h := &Host{options: o.withDefaults(), dir: dir, planeDone: make(chan struct{})}
	if err := h.start(ctx); err != nil {
		h.Stop()
		return nil, fmt.Errorf("cannot start the simulated host: %w", errors.Join(err, h.Err()))
	}
	return h, nil
}

func (h *Host) start(ctx context.Context) error {
	ctxPlane, stopPlane := context.WithCancel(context.WithoutCancel(ctx))
	ctxParts, stopParts := context.WithCancel(ctxPlane)
	h.stopPlane, h.stopParts = stopPlane, stopParts

	if err := h.newPlane(); err != nil {
		close(h.planeDone)
		return err
	}
	go func() {
		defer close(h.planeDone)
		h.recordFailure("control plane", h.plane.RunWithControllers(ctxPlane))
	}()
	select {
	case <-h.plane.Ready():
	case <-h.planeDone:
		return errors.New("the control plane ended before it was ready")
	case <-ctx.Done():
		return ctx.Err()
	}

	client, err := kubernetes.NewForConfig(h.Config())
	if err != nil {
		return fmt.Errorf("cannot create a client: %w", err)
	}
	h.client = client
	if err := h.runScheduler(ctxParts); err != nil {
		return err
	}
	if err := h.runKubelets(ctxParts); err != nil {
		return err
	}
	return h.AddNodes(ctx, h.options.Nodes)
}

func (h *Host) newPlane() error {
	bundle, err := pki.New(time.Now())
	if err != nil {
		return fmt.Errorf("cannot create certificates: %w", err)
	}
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("cannot listen: %w", err)
	}
	store := storage.Embedded(filepath.Join(h.dir, "etcd"))
	store.NoSync, store.Logger = true, zap.NewNop()
	plane, err := controlplane.New(controlplane.Config{
		Storage:             store,
		PKI:                 bundle,
		Listener:            listener,
		AdvertiseAddress:    net.IPv4(127, 0, 0, 1),
		ServiceCIDR:         serviceCIDR,
		KubernetesServiceIP: net.ParseIP(kubernetesService),
		DNSServiceIP:        net.ParseIP(dnsService),
		ClusterDomain:       "cluster.local",
		Controllers:         append(controlplane.DefaultControllers(), controlplane.ResourceClaimController),
	})
	if err != nil {
		_ = listener.Close()
		return err
	}
	h.bundle, h.plane, h.address = bundle, plane, listener.Addr().String()
	return nil
}

// recordFailure records why a part ended. A part that ends on its own takes the rest
// with it: half a host would only make tests hang.
func (h *Host) recordFailure(part string, err error) {
	if err == nil || errors.Is(err, context.Canceled) {
		return
	}
	h.mu.Lock()
	h.err = errors.Join(h.err, fmt.Errorf("%s: %w", part, err))
	h.mu.Unlock()
	h.stopParts()
	h.stopPlane()
}

// Err returns why the host has ended, or nil if no part of it has failed.
func (h *Host) Err() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.err
}

// Stop ends the host and removes its store. It may be called more than once.
func (h *Host) Stop() {
	h.stopped.Do(func() {
		if h.stopParts != nil {
			h.stopParts()
			h.parts.Wait()
			h.stopPlane()
			<-h.planeDone
		}
		_ = os.RemoveAll(h.dir)
	})
}

// Config returns the client configuration of an administrator, in memory and without rate limits.
func (h *Host) Config() *rest.Config {
	return h.plane.ClientConfig("host-admin", "system:masters")
}

// Client returns a client made of [Host.Config], shared by all who ask.
func (h *Host) Client() kubernetes.Interface { return h.client }

// Address returns host:port of the API server.
func (h *Host) Address() string { return h.address }

// CA returns the certificate authority of the API server in PEM.
func (h *Host) CA() []byte { return h.bundle.CA() }

// Kubeconfig returns the kubeconfig of an administrator, for other processes. They connect over TLS.
func (h *Host) Kubeconfig() ([]byte, error) {
	return h.bundle.Kubeconfig("https://"+h.address, "sim", "host-admin", "system:masters")
}

// LogTo sends what the Kubernetes parts of this process log to w, and nothing of
// it to standard error. The setting is one for the whole process: programs call
// it once, before [Start].
func LogTo(w io.Writer) error {
	settings := flag.NewFlagSet("log", flag.ContinueOnError)
	klog.InitFlags(settings)
	for name, value := range map[string]string{"logtostderr": "false", "stderrthreshold": "FATAL", "one_output": "true"} {
		if err := settings.Set(name, value); err != nil {
			return fmt.Errorf("cannot set %s of the log: %w", name, err)
		}
	}
	klog.SetOutput(w)
	return nil
}
