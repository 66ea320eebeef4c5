package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"sync/atomic"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/component-base/metrics/legacyregistry"
	componentversion "k8s.io/component-base/version"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/admission"
	"github.com/sublet-dev/sublet/pkg/config"
	"github.com/sublet-dev/sublet/pkg/controlplane"
	"github.com/sublet-dev/sublet/pkg/controlplane/loopback"
	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
	"github.com/sublet-dev/sublet/pkg/dns"
	"github.com/sublet-dev/sublet/pkg/nodeproxy"
	"github.com/sublet-dev/sublet/pkg/storage"
	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/syncer/kinds"
	"github.com/sublet-dev/sublet/pkg/syncer/kinds/nodes"
)

// syncerUser is who the syncer is in the virtual cluster. It may do everything
// there, as the tenant may.
const syncerUser = "system:sublet:syncer"

// Run serves the virtual cluster until ctx ends or a part of it fails.
func Run(ctx context.Context, options Options) error {
	if err := options.Validate(); err != nil {
		return err
	}
	values, err := config.Load(options.ConfigFile, kinds.Settings()...)
	if err != nil {
		return err
	}
	if err := prepareProcess(values.Logging); err != nil {
		return err
	}
	a := &app{options: options, values: values, names: options.names(), done: ctx.Done()}
	if err := a.meetHost(ctx); err != nil {
		return fmt.Errorf("cannot start without knowing the host: %w", err)
	}
	if err := a.build(); err != nil {
		return err
	}
	return runInOrder(ctx, a.parts())
}

// app is the server as it is put together.
type app struct {
	options Options
	done    <-chan struct{} // closed when the process is to stop
	values  *v1alpha1.Config
	names   hostNames

	host       *rest.Config
	hostClient kubernetes.Interface
	facts      *hostFacts
	bundle     *pki.Bundle

	listener     net.Listener
	controlPlane *controlplane.ControlPlane
	engine       *syncer.Engine
	proxy        *nodeproxy.Proxy
	scheduling   scheduling
	dns          *dns.Server
	kubeconfig   *kubeconfigWriter
}

// meetHost connects to the host and learns what the parts need.
func (a *app) meetHost(ctx context.Context) error {
	var err error
	if a.host, err = hostConfig(a.options.HostKubeconfig); err != nil {
		return err
	}
	if a.hostClient, err = kubernetes.NewForConfig(a.host); err != nil {
		return err
	}
	learner := &hostLearner{
		client:      a.hostClient,
		names:       a.names,
		cacheFile:   filepath.Join(a.options.DataDir, "host.json"),
		serviceCIDR: a.values.Networking.ServiceCIDR,
		now:         time.Now,
		newCerts: func(now time.Time) (map[string][]byte, error) {
			bundle, err := pki.New(now)
			if err != nil {
				return nil, err
			}
			return bundle.Secret(), nil
		},
	}
	if a.facts, err = learner.learn(ctx); err != nil {
		return err
	}
	if a.bundle, err = pki.FromSecret(a.facts.Certs); err != nil {
		return fmt.Errorf("host Secret %s/%s: %w", a.names.namespace, a.names.certs(), err)
	}
	return nil
}

// hostConfig is how the host is reached: without a limit of our own, as the
// host's API server has a fair one, and in protobuf.
func hostConfig(kubeconfig string) (*rest.Config, error) {
	var host *rest.Config
	var err error
	if kubeconfig == "" {
		host, err = rest.InClusterConfig()
	} else {
		host, err = clientcmd.BuildConfigFromFlags("", kubeconfig)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot tell how the host is reached: %w", err)
	}
	host.QPS = -1
	host.ContentType = "application/vnd.kubernetes.protobuf"
	host.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	host.UserAgent = "sublet/" + version
	return host, nil
}

// build makes the parts without starting any.
func (a *app) build() error {
	cluster := a.facts.cluster(a.names)
	var err error
	pods := &virtualPods{}
	a.proxy, err = nodeproxy.New(nodeproxy.Options{Host: a.host, Cluster: cluster, VirtualPod: pods.get, Register: legacyregistry.Register})
	if err != nil {
		return err
	}
	if a.listener, err = net.Listen("tcp", a.options.apiAddress()); err != nil {
		return fmt.Errorf("cannot serve the virtual API: %w", err)
	}
	first := &hostFirst{}
	if a.controlPlane, err = controlplane.New(a.controlPlaneConfig(first)); err != nil {
		return err
	}
	if pods.client, err = kubernetes.NewForConfig(a.controlPlane.ClientConfig("system:sublet:node-proxy", pki.GroupAdmins)); err != nil {
		return err
	}
	virtual := a.controlPlane.ClientConfig(syncerUser, pki.GroupAdmins)
	a.engine, err = syncer.NewEngine(syncer.Options{
		Cluster: cluster, Virtual: virtual, Host: a.host,
		VirtualInformers: virtualInformers{a.controlPlane, a.done},
	})
	if err != nil {
		return err
	}
	first.engine.Store(a.engine)
	if a.scheduling, err = a.newScheduling(); err != nil {
		return err
	}
	if a.options.DNSPort >= 0 {
		a.dns, err = dns.New(dns.Options{
			Virtual:       a.controlPlane.ClientConfig("system:sublet:dns", pki.GroupAdmins),
			ClusterDomain: a.values.Networking.Advanced.ClusterDomain,
			Address:       a.options.dnsAddress(),
			Register:      legacyregistry.Register,
		})
		if err != nil {
			return err
		}
	}
	a.kubeconfig = &kubeconfigWriter{
		client: a.hostClient, names: a.names, anchor: a.facts.Anchor, bundle: a.bundle, clock: clock.RealClock{},
		server:  or(a.values.ExportKubeConfig.Server, fmt.Sprintf("https://%s.%s", a.names.service(), a.names.namespace)),
		context: or(a.values.ExportKubeConfig.Context, a.names.release),
	}
	return a.addKinds(virtual)
}

// controlPlaneConfig is what the control plane gets of all this.
func (a *app) controlPlaneConfig(first *hostFirst) controlplane.Config {
	return controlplane.Config{
		Storage:             a.newStore(),
		PKI:                 a.bundle,
		Listener:            a.listener,
		AdvertiseAddress:    net.ParseIP(or(a.options.AdvertiseAddress, a.options.BindAddress)),
		ServiceCIDR:         a.facts.ServiceCIDR,
		KubernetesServiceIP: net.ParseIP(a.facts.ServiceIP),
		DNSServiceIP:        net.ParseIP(a.facts.DNSServiceIP),
		ClusterDomain:       a.values.Networking.Advanced.ClusterDomain,
		ExtraSANs: append(a.values.ServingNames(), a.names.service(),
			a.names.service()+"."+a.names.namespace, a.names.service()+"."+a.names.namespace+".svc"),
		KubeletDial: a.proxy.Dial,
		Admission:   a.admission(first),
		Handlers:    map[string]http.Handler{"/syncz": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { a.engine.Syncz().ServeHTTP(w, r) })},
	}
}

// storeReserve is the space in bytes that the store keeps for a start on a full
// volume: two segments of its log, and some for the database.
const storeReserve = 160 << 20

// newStore returns the embedded store. Its identity is the one that it keeps with
// more replicas: the pod's name, a DNS name per pod, and the anchor's UID.
func (a *app) newStore() *storage.Etcd {
	store := storage.Embedded(filepath.Join(a.options.DataDir, "etcd"))
	pod := a.names.release + "-0"
	store.Member = storage.Member{
		Name:    pod,
		PeerURL: fmt.Sprintf("https://%s.%s-peers.%s.svc:2380", pod, a.names.release, a.names.namespace),
		Token:   string(a.facts.Anchor.UID),
	}
	store.VolumeSize = a.values.ControlPlane.StatefulSet.Persistence.VolumeClaim.Size.Value()
	store.Reserve = storeReserve
	store.Register = legacyregistry.Register
	return store
}

// admission is the steps that the virtual API server takes beside its own.
func (a *app) admission(first *hostFirst) []controlplane.Plugin {
	plugins := []controlplane.Plugin{{Name: "SubletNodes", Interface: admission.Nodes(admission.NodeOptions{
		IsInternal: loopback.IsLoopback,
		Rules: nodes.Rules{
			VirtualScheduler: a.values.ControlPlane.Advanced.VirtualScheduler.Enabled,
			Nodes:            a.values.Sync.FromHost.Nodes,
		},
		Host: first,
	})}}
	if a.values.Sync.IsEnabled("sync.toHost.services") {
		plugins = append(plugins, controlplane.Plugin{Name: "SubletServices", Interface: admission.Services(first)})
	}
	return plugins
}

// addKinds gives the engine every kind that the settings ask for.
func (a *app) addKinds(virtual *rest.Config) error {
	virtualClient, err := kubernetes.NewForConfig(virtual)
	if err != nil {
		return err
	}
	options := kinds.Options{
		Sync:                   a.values.Sync,
		VirtualScheduler:       a.values.ControlPlane.Advanced.VirtualScheduler.Enabled,
		Proposals:              a.scheduling.proposals(),
		Usage:                  a.scheduling.nodeUsage(),
		WorkloadServiceAccount: a.names.workload(),
		KubernetesServiceIP:    a.facts.ServiceIP,
		DNSServiceIP:           a.facts.DNSServiceIP,
		ClusterDomain:          a.values.Networking.Advanced.ClusterDomain,
		KubeletVersion:         componentversion.Get().GitVersion,
		Tokens:                 minter{a.controlPlane, virtualClient},
	}
	for _, row := range kinds.Table() {
		for _, kind := range row.Define(options) {
			if err := a.engine.Add(context.Background(), kind); err != nil {
				return fmt.Errorf("cannot sync %s: %w", kind.Name(), err)
			}
		}
	}
	return nil
}

// parts are what runs, in the order of the start.
func (a *app) parts() []part {
	parts := []part{
		{name: "memory", run: newMemoryKeeper().Run},
		{name: "node proxy", run: a.proxy.Run},
		{name: "control plane", run: a.controlPlane.Run, ready: a.controlPlane.Ready()},
		{name: "kubeconfig", run: a.kubeconfig.Run},
		{name: "syncer", run: a.engine.Run},
	}
	parts = append(parts, a.scheduling.parts()...)
	if a.dns != nil {
		parts = append(parts, part{name: "DNS", run: a.dns.Run})
	}
	return parts
}

// hostFirst is the engine for the admission of Services and nodes, which is built
// before the engine is.
type hostFirst struct{ engine atomic.Pointer[syncer.Engine] }

var errNoEngine = errors.New("the syncer has not started yet; try again")

// CreateHostFirst implements admission.HostFirst.
func (h *hostFirst) CreateHostFirst(ctx context.Context, kind string, virtual client.Object, dryRun bool) (client.Object, error) {
	if engine := h.engine.Load(); engine != nil {
		return engine.CreateHostFirst(ctx, kind, virtual, dryRun)
	}
	return nil, errNoEngine
}

// UpdateHostFirst implements admission.HostFirst.
func (h *hostFirst) UpdateHostFirst(ctx context.Context, kind string, virtual client.Object, dryRun bool) (client.Object, error) {
	if engine := h.engine.Load(); engine != nil {
		return engine.UpdateHostFirst(ctx, kind, virtual, dryRun)
	}
	return nil, errNoEngine
}

// ChangeHostFirst implements admission.HostChange.
func (h *hostFirst) ChangeHostFirst(ctx context.Context, kind string, virtual client.Object, change func(client.Object) error, dryRun bool) error {
	if engine := h.engine.Load(); engine != nil {
		return engine.ChangeHostFirst(ctx, kind, virtual, change, dryRun)
	}
	return errNoEngine
}

// or is the first of two texts that says something.
func or(first, second string) string {
	if first != "" {
		return first
	}
	return second
}
