// Package controlplane runs the control plane of one virtual cluster inside the
// process. It is the real kube-apiserver with custom resources and aggregation, and
// the controllers of a cluster without kubelets of its own.
//
// It starts in this order, and stops in reverse:
//
//	storage → API server → bootstrap (roles, priority classes, system services) → controllers
//
// It starts in half a second instead of two, because its parts call each other as functions.
// Clients in the process call the API server's handler without TLS and sockets
// ([ControlPlane.ClientConfig], package loopback). All resources share one client of the
// store. The controllers share the API server's informers (package informers). The objects
// that every cluster has are created at once, where upstream first sleeps for a second
// (bootstrap.go).
//
// Nothing that a tenant stores can keep a start from succeeding: see
// docs/design/012-starts-that-never-fail.md.
//
// Consistent reads go to the store, which is faster than to wait until a watch cache is up to date.
// Only resources that many clients read have a watch cache (restoptions.go). The OpenAPI
// description is built on demand (package openapi).
//
// Only one TLS port is open to the outside, for tenants and their pods.
//
// The version that kubectl shows comes from the linker: a build sets
// gitVersion, gitMajor, gitMinor, gitCommit and gitTreeState of
// k8s.io/component-base/version with -X.
package controlplane

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	etcd "go.etcd.io/etcd/client/v3/kubernetes"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/client-go/informers"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/api/syncz"
	"github.com/sublet-dev/sublet/pkg/controlplane/audit"
	"github.com/sublet-dev/sublet/pkg/controlplane/authentication"
	"github.com/sublet-dev/sublet/pkg/controlplane/encryption"
	"github.com/sublet-dev/sublet/pkg/controlplane/loopback"
	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
	"github.com/sublet-dev/sublet/pkg/controlplane/requestmemory"
	"github.com/sublet-dev/sublet/pkg/storage"
)

const (
	// resync is how often the shared informers hand everything to their
	// handlers again. It is upstream's default.
	resync = 10 * time.Minute

	// storageTimeout bounds a health check of the store.
	storageTimeout = 2 * time.Second

	// warmLimit is how long a start waits for the first lists of the API server's informers.
	warmLimit = 5 * time.Second

	// controllersGrace and serverGrace are how long controllers and open
	// requests may take to end. Together with the store they stay below the
	// five seconds in which a stop must be over.
	controllersGrace = 1500 * time.Millisecond
	serverGrace      = time.Second
)

// A Plugin is an admission step of the virtual API server.
type Plugin struct {
	// Name names the step in errors.
	Name string
	admission.Interface
}

// Config configures a control plane. Storage, PKI and Listener are required.
type Config struct {
	// Storage keeps the objects. Run starts and stops it.
	Storage storage.Backend

	// PKI is the cluster's authority and keys.
	PKI *pki.Bundle

	// Listener is the one TLS port. Run closes it.
	Listener net.Listener

	// AdvertiseAddress is the address at which pods reach the listener. It becomes the endpoint
	// of the Service default/kubernetes, unless it is a loopback address. Default: the
	// listener's address, or 127.0.0.1 if that is unspecified.
	AdvertiseAddress net.IP

	// ServiceCIDR is the range of Service IPs, which must be the host's. It may be two ranges of
	// different IP families, separated by a comma. Default: 10.0.0.0/24, as upstream.
	ServiceCIDR string

	// KubernetesServiceIP is the ClusterIP of default/kubernetes. Default: the
	// first address of ServiceCIDR. If it changes between two starts, the
	// Service is made again with the new one.
	KubernetesServiceIP net.IP

	// DNSServiceIP is the ClusterIP of kube-system/kube-dns. Default: no such
	// Service.
	DNSServiceIP net.IP

	// NodePortRange is the range of node ports, such as 20000-40000. A port that the host
	// assigns must be in it. Default: upstream's.
	NodePortRange string

	// DNSUser is the user of DNS servers outside of the process. It gets read access to the
	// objects that DNS names come from. Default: there are no such servers.
	DNSUser string

	// Replicas is the number of API servers on the store. With more than one, the Service
	// default/kubernetes has an endpoint for each running one, and each has a Lease in
	// kube-system. Default: 1.
	Replicas int

	// Name names this API server among its replicas, and stays the same when it
	// restarts. Default: the host name.
	Name string

	// ClusterDomain is the DNS suffix of the cluster. Default cluster.local.
	ClusterDomain string

	// Tokens are the settings of service account tokens.
	Tokens TokenOptions

	// ExtraSANs are further names and addresses that the serving certificate
	// is valid for.
	ExtraSANs []string

	// Address has names of the serving certificate that may change. Default: there are none.
	Address Address

	// KubeletDial opens connections to kubelets, for logs, exec and the like.
	// Default: the network.
	KubeletDial func(ctx context.Context, network, address string) (net.Conn, error)

	// Dial opens all other connections that the API server makes on behalf of a tenant.
	// They go to pods and Services through their proxies, to webhooks, to converters of
	// custom resources and to aggregated APIs. Default: the network.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// Issuers are further issuers of the tokens of callers. Default: none.
	Issuers *authentication.Issuers

	// Audit is where requests from outside of the process are recorded. Default: nowhere.
	Audit audit.Options
	// FeatureGates are set for the process: gate -> on. Default: those of Kubernetes.
	FeatureGates map[string]bool
	// PseudoNodes specifies that nodes have sizes that are made up, so that no request is checked against
	// them. Default: false.
	PseudoNodes bool

	// Admission are further admission steps. They mutate after all of
	// upstream's steps and webhooks have, and validate after all of those too.
	Admission []Plugin

	// HostFirst are the last admission steps. They write to the host after validation.
	HostFirst []HostFirst

	// Encryption are the settings of the encryption of the store. Its Purge and Clock are
	// filled in. Default: nothing is encrypted, and a store with encrypted values is
	// refused.
	Encryption encryption.Options

	// Writes bounds what requests from outside of the process write. Default: no limit.
	Writes WriteLimit

	// Handlers are served under their exact path to callers whose permissions
	// name it as a non-resource URL, as an administrator's do. A handler of /metrics
	// replaces the one that serves all metrics of the process.
	Handlers map[string]http.Handler

	// OnRequest is called for each request from outside of the process, when it arrives.
	// Watches, other long-running requests and health checks are left out. Default: nothing.
	OnRequest func()

	// ObserveInformers wraps the transport of the shared informers, to see their lists and
	// watches. Default: it is not wrapped.
	ObserveInformers func(http.RoundTripper) http.RoundTripper

	// WrapAPI wraps the handler of authorized requests, except for those from within the process.
	// What it answers counts in the number of requests, but not in their memory. Default: it is not wrapped.
	WrapAPI func(http.Handler) http.Handler

	// Groups are further API groups that the API server serves. Their resources are not
	// in the store. A tenant cannot have another server serve them.
	Groups []*Group

	// SyncedGroups are the API groups of custom resources that are synced with the host. A
	// tenant cannot have another server serve them, because that would bypass admission.
	SyncedGroups []string

	// Controllers are the names of the controllers to run, as kube-controller-manager
	// takes them. "*" is all that are on by default, "-name" leaves one out. Default:
	// [DefaultControllers].
	Controllers []string

	// Clock drives the renewal of certificates and the delays of writes. Default: the real one.
	Clock clock.WithTicker

	// requestMemory returns how many bytes requests from outside of the process may take
	// together. Default: a share of the memory limit of the process.
	requestMemory func() int64
}

// complete fills in defaults and reports everything that is missing at once.
func (c *Config) complete() error {
	var errs []error
	if c.Storage == nil {
		errs = append(errs, errors.New("a control plane needs a storage"))
	}
	if c.PKI == nil {
		errs = append(errs, errors.New("a control plane needs its certificates"))
	}
	if c.Listener == nil {
		errs = append(errs, errors.New("a control plane needs a listener"))
	} else if address, ok := c.Listener.Addr().(*net.TCPAddr); !ok {
		errs = append(errs, fmt.Errorf("a control plane listens on TCP, not on %s", c.Listener.Addr().Network()))
	} else if c.AdvertiseAddress == nil {
		c.AdvertiseAddress = address.IP
	}
	if c.AdvertiseAddress == nil || c.AdvertiseAddress.IsUnspecified() {
		c.AdvertiseAddress = net.IPv4(127, 0, 0, 1)
	}
	c.ServiceCIDR = cmp.Or(c.ServiceCIDR, "10.0.0.0/24")
	errs = append(errs, c.completeAddresses()...)
	c.ClusterDomain = cmp.Or(c.ClusterDomain, "cluster.local")
	if len(c.Controllers) == 0 {
		c.Controllers = DefaultControllers()
	}
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	if c.requestMemory == nil {
		c.requestMemory = requestmemory.ShareOfLimit
	}
	return errors.Join(errs...)
}

// completeAddresses fills in and checks the addresses of Services.
func (c *Config) completeAddresses() []error {
	var ranges []*net.IPNet
	for text := range strings.SplitSeq(c.ServiceCIDR, ",") {
		_, services, err := net.ParseCIDR(text)
		if err != nil {
			return []error{fmt.Errorf("the service range %q is not a CIDR", text)}
		}
		ranges = append(ranges, services)
	}
	if c.KubernetesServiceIP == nil {
		c.KubernetesServiceIP = firstAddress(ranges[0])
	}
	var errs []error
	for _, service := range []struct {
		name string
		ip   net.IP
	}{{"kubernetes", c.KubernetesServiceIP}, {"kube-dns", c.DNSServiceIP}} {
		inside := func(services *net.IPNet) bool { return services.Contains(service.ip) }
		if service.ip != nil && !slices.ContainsFunc(ranges, inside) {
			errs = append(errs, fmt.Errorf("the address %s of the Service %s is not in the service range %s",
				service.ip, service.name, c.ServiceCIDR))
		}
	}
	return errs
}

// A ControlPlane is the control plane of one virtual cluster.
type ControlPlane struct {
	config   Config
	loopback *loopback.Server
	endpoint string
	ready    chan struct{}
	tokens   atomic.Pointer[tokenMint]
	checks   atomic.Pointer[[]func() syncz.Check]
	// server and tasks are set before booted is closed, which lets the controllers start.
	server atomic.Pointer[apiServer]
	tasks  atomic.Pointer[startTasks]
	booted chan struct{}
	// store and encryption are set once the store is open.
	store      atomic.Pointer[etcd.Client]
	encryption atomic.Pointer[encryption.Encryption]
	// serving is the API server that Run has started. Only Run uses it.
	serving *running
}

// New checks the configuration. Nothing runs before Run.
func New(config Config) (*ControlPlane, error) {
	if err := config.complete(); err != nil {
		return nil, err
	}
	limitMetricLabels()
	return &ControlPlane{
		config:   config,
		loopback: loopback.NewServer(),
		// The libraries keep process-wide registers by the name of the store.
		endpoint: fmt.Sprintf("http://sublet-%s.memory", uuid.NewUUID()),
		ready:    make(chan struct{}),
		booted:   make(chan struct{}),
	}, nil
}

// Ready returns a channel that is closed when the API server answers /readyz with 200.
func (c *ControlPlane) Ready() <-chan struct{} { return c.ready }

// Informers returns the informers that the API server and the controllers share, for other parts of the
// process. They run once [ControlPlane.Ready] is closed. A caller that requests a further one must
// start it.
func (c *ControlPlane) Informers() informers.SharedInformerFactory { return c.server.Load().informers }

// Checks returns the progress of the start and the missing system objects.
func (c *ControlPlane) Checks() []syncz.Check {
	sources := c.checks.Load()
	if sources == nil {
		return []syncz.Check{{Name: "control plane", Message: "starting, waiting for the store"}}
	}
	checks := make([]syncz.Check, 0, len(*sources))
	for _, check := range *sources {
		checks = append(checks, check())
	}
	return append(checks, c.encryption.Load().Checks()...)
}

// Run runs the control plane until the context ends, and then stops it. It
// returns nil after an orderly end and otherwise the error of the part that
// failed first.
func (c *ControlPlane) Run(ctx context.Context) error {
	defer c.closeListener()
	defer c.loopback.Close()
	if err := setFeatureGates(c.config.FeatureGates); err != nil {
		return err
	}
	defer c.config.Storage.Stop()
	client, err := c.config.Storage.Start(ctx)
	if ctx.Err() != nil {
		return nil // the process was told to end
	}
	if err != nil {
		return fmt.Errorf("cannot start the storage: %w", err)
	}
	boundReads(client)
	c.store.Store(client)
	err = c.openEncryption(ctx, client)
	if ctx.Err() != nil {
		return nil // the same
	}
	if err != nil {
		return err
	}

	serving, err := newServingLeaf(&c.config)
	if err != nil {
		return err
	}
	frontProxy, err := pki.NewLeaf(c.config.Clock, c.config.PKI.FrontProxyClient)
	if err != nil {
		return err
	}
	RecordExpiry("ca", c.config.PKI.CAExpires())
	RecordExpiry("front-proxy-ca", c.config.PKI.FrontProxyExpires())
	RecordLeafExpiry("serving", serving)
	RecordLeafExpiry("front-proxy-client", frontProxy)
	renewing, stopRenewing := context.WithCancel(ctx)
	defer stopRenewing()
	for _, leaf := range []*pki.Leaf{serving, frontProxy} {
		go leaf.Run(renewing, func(err error) { klog.ErrorS(err, "A certificate of the API server was not renewed") })
	}

	server, err := newAPIServer(c, client, serving, frontProxy)
	if err != nil {
		return err
	}
	defer server.closeFiles()
	lifetime, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	server.lifetime = lifetime.Done()
	c.server.Store(server)
	c.tokens.Store(server.tokens)
	return c.serve(ctx, server)
}
