package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/api/release"
	"github.com/sublet-dev/sublet/api/syncz"
	"github.com/sublet-dev/sublet/pkg/app/customresources"
	"github.com/sublet-dev/sublet/pkg/app/host"
	"github.com/sublet-dev/sublet/pkg/app/lifecycle"
	"github.com/sublet-dev/sublet/pkg/app/patches"
	"github.com/sublet-dev/sublet/pkg/backup"
	"github.com/sublet-dev/sublet/pkg/config"
	"github.com/sublet-dev/sublet/pkg/controlplane"
	"github.com/sublet-dev/sublet/pkg/controlplane/authentication"
	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
	"github.com/sublet-dev/sublet/pkg/dns"
	"github.com/sublet-dev/sublet/pkg/egress"
	"github.com/sublet-dev/sublet/pkg/nodeproxy"
	"github.com/sublet-dev/sublet/pkg/snapshot"
	"github.com/sublet-dev/sublet/pkg/storage"
	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/syncer/kinds"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// Run serves the virtual cluster until ctx ends or a part of it fails.
func Run(ctx context.Context, options Options) error {
	if err := options.Validate(); err != nil {
		return err
	}
	values, err := config.Load(options.ConfigFile, kinds.Settings()...)
	if err != nil {
		return err
	}
	if err := checkSplit(options, values); err != nil {
		return err
	}
	changes, err := patches.New(&values.Sync)
	if err != nil {
		return fmt.Errorf("cannot use the configuration %s: %w", options.ConfigFile, err)
	}
	limit, err := prepareProcess(values.Logging)
	if err != nil {
		return err
	}
	a := &app{options: options, values: values, patches: changes, names: options.names(), health: &health{}, hostFirst: &hostFirst{}, memoryLimit: limit}
	parts := []lifecycle.Part{a.virtualCluster()}
	if options.OperatorPort >= 0 {
		port, err := a.newOperatorPort(ctx)
		if err != nil {
			return err
		}
		parts = append([]lifecycle.Part{{Name: "operator's port", Run: port.Run}}, parts...)
	}
	return lifecycle.Run(ctx, parts, nil)
}

// virtualCluster returns the part that contains everything except the operator's port. Its inner
// parts have their own stop timeout, so its Grace only has to cover the longest Grace inside.
func (a *app) virtualCluster() lifecycle.Part {
	return lifecycle.Part{Name: "virtual cluster", Run: a.serve, Grace: maxLeaveGrace + time.Second}
}

// app is the server as it is put together.
type app struct {
	options Options
	values  *v1alpha1.Config
	patches patches.Patches
	names   release.Release
	health  *health
	// memoryLimit is the memory limit of the container at startup, in bytes. 0 means none.
	memoryLimit int64

	done       <-chan struct{} // closed when the virtual cluster must stop
	host       *rest.Config    // fenced: writes fail unless this replica is the holder
	leaderHost *rest.Config    // fenced: writes fail unless this replica leads or they are host-first
	limiter    *syncer.HostLimiter
	hostClient kubernetes.Interface
	facts      *host.Facts
	factsMu    sync.Mutex // guards writes to facts
	holder     *host.Holder
	bundle     *pki.Bundle
	operator   *host.OperatorSecret
	events     *host.Events
	backups    *backup.Keeper // nil if backups are off
	scaling    scaling

	issuers       *authentication.Issuers
	issuersFile   *authentication.File
	listener      net.Listener
	store         storage.Backend
	served        *snapshot.Served // the backend that store wraps
	storeOnVolume bool
	controlPlane  *controlplane.ControlPlane
	proxy         *nodeproxy.Proxy
	dialer        *egress.Dialer
	destinations  *egress.Objects
	dns           *dns.Server
	dnsPods       *dns.Pods
	secrets       []*host.SecretKeeper
	exported      *host.ExportBindings
	address       *host.Address // nil if the settings fix the address
	hostFirst     *hostFirst
	definitions   *customresources.Definitions // nil if no custom resource is synced
	desired       *host.Replicas               // nil if no other replica can lead
	members       *members                     // nil unless the store is an embedded etcd
	standby       *standby                     // nil if no other replica can lead
	contested     <-chan struct{}              // closed once other replicas may compete for the lease; nil if they never can
	contest       func()                       // closes contested
}

// serve runs the virtual cluster once this replica is the holder. A replica that was superseded
// by its successor stays alive but serves nothing until it is deleted. A restart would not
// change that.
func (a *app) serve(ctx context.Context) error {
	a.done = ctx.Done()
	err := a.connectHost(ctx)
	switch {
	case ctx.Err() != nil:
		return nil //nolint:nilerr // The process was stopped before it could start.
	case err != nil:
		return fmt.Errorf("cannot start without the host: %w", err)
	}
	if err := a.build(ctx); err != nil {
		return err
	}
	election, err := a.newElection()
	if err != nil {
		return err
	}
	a.holder.SetLease(election.Holds)
	err = lifecycle.Run(ctx, a.parts(), election)
	if errors.Is(err, host.ErrSuperseded) {
		a.health.setStandby(err.Error())
		<-ctx.Done()
		return nil
	}
	return err
}

// connectHost discovers the facts of the host that the parts need, and makes this replica the
// holder.
func (a *app) connectHost(ctx context.Context) error {
	unfenced, err := hostConfig(a.options.HostKubeconfig)
	if err != nil {
		return err
	}
	if a.hostClient, err = kubernetes.NewForConfig(unfenced); err != nil {
		return err
	}
	a.events = host.NewEvents(a.hostClient, a.names.Namespace)
	context.AfterFunc(ctx, a.events.Stop)
	discovery := &host.Discovery{
		Client:      a.hostClient,
		Release:     a.names,
		Identity:    a.options.identity(),
		IsShared:    a.isShared,
		DataDir:     a.options.DataDir,
		ServiceCIDR: a.values.Networking.ServiceCIDR,
		NewCerts:    newCerts,

		NodePortRange: a.values.Networking.ServiceNodePortRange,
		AsksNodePorts: a.values.Sync.IsEnabled("sync.toHost.services"),
		CompleteCerts: pki.WithPeers,
		Events:        a.events,
		Clock:         clock.RealClock{},
	}
	if a.facts, a.holder, err = discovery.Discover(ctx, a.health.setStandby); err != nil {
		return err
	}
	a.health.setStarting()
	a.host = host.Fence(unfenced, a.holder.MayWrite)
	a.leaderHost = host.FenceLeader(unfenced, a.holder)
	a.limiter = newHostLimiter(a.values.ControlPlane.Advanced.HostClient)
	if a.bundle, err = pki.FromSecret(a.facts.Certs); err != nil {
		return fmt.Errorf("cannot use host Secret %s/%s: %w", a.names.Namespace, a.names.Certs(), err)
	}
	return nil
}

// newHostLimiter returns the rate limiter that all requests to the host share.
func newHostLimiter(settings v1alpha1.HostClient) *syncer.HostLimiter {
	return syncer.NewHostLimiter(syncer.HostLimits{
		RequestsPerSecond: float64(settings.RequestsPerSecond),
		Burst:             int(settings.Burst),
		BytesPerSecond:    settings.BytesPerSecond.Value(),
	}, clock.RealClock{})
}

// newCerts returns the data of a certs Secret with a new certificate authority.
func newCerts(now time.Time) (map[string][]byte, error) {
	bundle, err := pki.New(now)
	if err != nil {
		return nil, err
	}
	return bundle.Secret(), nil
}

// hostConfig returns the client config of the host. It uses protobuf and disables client-go's
// rate limit, which counts only requests. The [syncer.HostLimiter] also limits bytes.
func hostConfig(kubeconfig string) (*rest.Config, error) {
	var config *rest.Config
	var err error
	if kubeconfig == "" {
		config, err = rest.InClusterConfig()
	} else {
		config, err = clientcmd.BuildConfigFromFlags("", kubeconfig)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the credentials for the host: %w", err)
	}
	config.QPS = -1
	config.ContentType = "application/vnd.kubernetes.protobuf"
	config.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	config.UserAgent = "sublet/" + version
	return config, nil
}

// cluster returns the identity of the virtual cluster on the host.
func (a *app) cluster() translate.Cluster {
	return translate.Cluster{
		UID: string(a.facts.Anchor.UID), Name: a.names.Name, Namespace: a.names.Namespace, Anchor: a.facts.Anchor,
	}
}

// parts returns all parts in the order in which they start.
func (a *app) parts() []lifecycle.Part {
	parts := []lifecycle.Part{
		{Name: "memory", Run: newMemoryKeeper(a.controlPlane.Ready(), a.memoryLimit).Run},
		{Name: "holder", Run: a.holder.Run},
		{Name: "node proxy", Run: a.proxy.Run},
		{Name: "issuers of tokens", Run: a.issuersFile.Run},
	}
	if a.members != nil && a.members.leaf != nil {
		parts = append(parts, lifecycle.Part{Name: "certificate for other members", Run: a.renewPeer})
	}
	parts = append(parts,
		lifecycle.Part{Name: "control plane", Run: a.controlPlane.Run, Ready: a.controlPlane.Ready(), Grace: a.leaveGrace()},
		lifecycle.Part{Name: "destinations", Run: a.watchDestinations},
		lifecycle.Part{Name: "health", Run: a.runHealth})
	parts = append(parts, a.storeParts()...)
	parts = append(parts, a.definitionParts()...)
	if a.dns != nil {
		parts = append(parts, lifecycle.Part{Name: "DNS", Run: a.dns.Run}, lifecycle.Part{Name: "DNS clients", Run: a.watchDNSPods})
	}
	if a.members != nil {
		parts = append(parts, lifecycle.Part{Name: "members of the store", Run: a.runMembers})
	}
	if a.address != nil {
		parts = append(parts, lifecycle.Part{Name: "address", Run: a.address.Run})
	}
	for _, secret := range a.secrets {
		parts = append(parts, lifecycle.Part{Name: secret.CheckName, Run: secret.Run})
	}
	if a.standby != nil {
		parts = append(parts, lifecycle.Part{Name: "replicas", Run: a.desired.Run}, lifecycle.Part{Name: "standby", Run: a.runStandby})
	}
	parts = append(parts, a.scaling.parts()...)
	if a.backups != nil {
		parts = append(parts, lifecycle.Part{Name: "backups", Run: a.backups.Run, Leader: true})
	}
	parts = append(parts, lifecycle.Part{Name: "record of the leader", Run: a.recordTerm, Leader: true},
		lifecycle.Part{Name: "controllers", Run: a.controlPlane.RunControllers, Leader: true},
		lifecycle.Part{Name: "encryption", Run: a.controlPlane.RunEncryption, Leader: true},
		lifecycle.Part{Name: "collector of finished pods", Run: a.runPodGC, Leader: true},
		lifecycle.Part{Name: "roles of exported accounts", Run: a.exported.Run, Leader: true},
		lifecycle.Part{Name: "syncing", Run: a.runSyncing, Leader: true})
	parts = append(parts, a.manifestParts()...)
	if !a.options.canLead() {
		return withoutLeaderParts(parts)
	}
	return parts
}

// report returns the health of all parts.
func (a *app) report() syncz.Report { return a.health.report() }

// certificate returns the certificate of the operator's port. It fails until the PKI of the
// virtual cluster is loaded.
func (a *app) certificate() (*tls.Certificate, error) { return a.health.certificate() }
