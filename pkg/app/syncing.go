package app

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	componentversion "k8s.io/component-base/version"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/app/hostnames"
	"github.com/sublet-dev/sublet/pkg/app/lifecycle"
	"github.com/sublet-dev/sublet/pkg/app/patches"
	"github.com/sublet-dev/sublet/pkg/controlplane"
	"github.com/sublet-dev/sublet/pkg/policy"
	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/syncer/kinds"
)

// clockSkew is the largest expected difference between the clocks of two replicas.
const clockSkew = 30 * time.Second

// session is a sync engine and its scheduler. It serves host-first requests as soon as it runs,
// and syncs once its replica leads.
type session struct {
	engine     *syncer.Engine
	scheduling scheduling
	// virtual has the identity of the syncer.
	virtual *rest.Config
	// ledSince is when the engine began to sync. It is nil before.
	ledSince atomic.Pointer[time.Time]
}

// sessionOptions configure newSession.
type sessionOptions struct {
	// standby prevents the engine from syncing until lead is called.
	standby bool
	// hostFirstOnly omits the scheduler and all kinds that host-first requests do not need.
	hostFirstOnly bool
}

// newSession builds an engine with its kinds and, if it is enabled, a virtual scheduler.
func (a *builtApp) newSession(o sessionOptions) (*session, error) {
	s := &session{virtual: a.controlPlane.SyncerConfig(syncerUser)}
	var err error
	s.engine, err = syncer.NewEngine(syncer.Options{
		Cluster: a.cluster(), Virtual: s.virtual, Host: a.leaderHost,
		VirtualInformers: virtualInformers{a.controlPlane, a.done},
		InformerMonitor:  a.informers,
		ObjectLimits:     objectLimits(a.values.Policies),
		MayWrite:         func() error { return a.maySessionWrite(s) },
		Restore:          a.store.served.Restore,
		Opened:           a.openedVersion,
		StoreVersion:     a.storeVersion,
		Standby:          o.standby,
		Leftovers:        leftovers(a.values),
	})
	if err != nil {
		return nil, err
	}
	if !o.hostFirstOnly {
		if s.scheduling, err = a.newScheduling(s.engine); err != nil {
			return nil, err
		}
	}
	if !o.standby {
		s.lead()
	}
	return s, a.addKinds(s, o)
}

// maySessionWrite returns an error if the engine of a session must not write to the host. A
// standby session only writes host-first, which every holder may do.
func (a *connectedApp) maySessionWrite(s *session) error {
	if s.ledSince.Load() == nil {
		return a.holder.MayWrite()
	}
	return a.holder.MayLead()
}

// lead starts the syncing.
func (s *session) lead() {
	now := time.Now()
	s.ledSince.Store(&now)
	s.engine.Lead()
}

// termStart returns when the term of the session started, plus skew. Timestamps of other
// replicas come from their clocks.
func (s *session) termStart(skew time.Duration) time.Time {
	since := s.ledSince.Load()
	if since == nil {
		return time.Now()
	}
	return since.Add(skew)
}

// runSyncing runs the syncer and the virtual scheduler for one leader term. Each term builds new
// ones, because caches and expectations of an earlier term are stale.
func (a *builtApp) runSyncing(ctx context.Context) error {
	if a.others == nil {
		return a.syncAlone(ctx)
	}
	if !a.others.takeSlot() {
		return a.syncFromStandby(ctx)
	}
	defer a.others.standby.slot.Unlock()
	return a.syncAlone(ctx)
}

// syncAlone syncs with a new session until ctx ends.
func (a *builtApp) syncAlone(ctx context.Context) error {
	s, err := a.newSession(sessionOptions{})
	if err != nil {
		return err
	}
	a.hostFirst.set(s.engine)
	defer a.hostFirst.set(nil)
	defer a.health.add(s.engine.Checks)()
	parts := append([]lifecycle.Part{{Name: "syncer", Run: s.engine.Run}}, a.termParts(s)...)
	return lifecycle.RunTerm(ctx, parts)
}

// termParts returns the parts that run next to the engine during one leader term.
func (a *builtApp) termParts(s *session) []lifecycle.Part {
	keeper := a.controlPlane.KeeperConfig(syncerUser)
	mirror := func(ctx context.Context) error { return a.runLimits(ctx, s.engine, keeper) }
	parts := append([]lifecycle.Part{{Name: "limits", Run: mirror}}, s.scheduling.parts(a.health)...)
	if policy.ServesSnapshots(a.values) {
		parts = append(parts, lifecycle.Part{Name: "definitions", Run: func(ctx context.Context) error { return runDefinitions(ctx, s.virtual) }})
	}
	return append(parts, a.customResourceParts(s)...)
}

// objectLimits returns the limits of the copies on the host.
func objectLimits(policies v1alpha1.Policies) syncer.ObjectLimits {
	bytes := map[string]int64{}
	for name, size := range policies.Objects.Bytes {
		bytes[string(name)] = size.Value()
	}
	return syncer.ObjectLimits{Count: policies.CopyCounts(), Bytes: bytes}
}

// hostFirstKinds returns the names of the kinds that host-first requests and [hostView] need.
func hostFirstKinds() []string {
	return []string{"services", "endpointslices", "nodes", "storageclasses", "runtimeclasses", "ingressclasses", "volumesnapshotclasses", "deviceclasses"}
}

// addKinds adds all enabled kinds to the engine of a session.
func (a *builtApp) addKinds(s *session, o sessionOptions) error {
	virtualClient, err := kubernetes.NewForConfig(s.virtual)
	if err != nil {
		return err
	}
	hostNames, err := a.hostNames()
	if err != nil {
		return err
	}
	acceptsToken, err := a.controlPlane.AcceptsToken()
	if err != nil {
		return err
	}
	skew := time.Duration(0)
	if a.others != nil {
		skew = clockSkew
	}
	options := kinds.Options{
		Sync:                   a.values.Sync,
		NetworkPolicy:          a.values.Policies.NetworkPolicy,
		PodPolicy:              policy.NewPods(a.values.Policies, policy.PodOptionsOf(a.values)),
		Devices:                policy.NewDevices(a.values.Policies.Devices),
		RuntimeHandlers:        a.values.Policies.Pods.RuntimeHandlers,
		AlwaysPull:             a.values.Policies.Images.AlwaysPull,
		VirtualScheduler:       a.values.ControlPlane.Advanced.VirtualScheduler.Enabled,
		QuotaScope:             a.values.Policies.HasResourceQuota(),
		Proposals:              s.scheduling.proposals(),
		Usage:                  s.scheduling.nodeUsage(),
		WorkloadServiceAccount: a.names.Workload(),
		WorkloadPullSecrets:    a.values.ControlPlane.Advanced.WorkloadServiceAccount.ImagePullSecrets,
		KubernetesServiceIP:    a.facts.ServiceIP,
		DNSServiceIP:           a.facts.DNSServiceIP,
		ClusterDomain:          a.values.Networking.Advanced.ClusterDomain,
		NodeSearches:           a.nodeSearches(),
		KubeletVersion:         componentversion.Get().GitVersion,
		Replicate:              a.values.Networking.ReplicateServices,
		Services:               policy.NewServices(a.values.Policies.Services),
		Ingresses:              policy.NewIngresses(a.values),
		HostNames:              hostNames,
		TermStart:              func() time.Time { return s.termStart(skew) },
		Endpoints:              policy.NewRanges(a.values.Policies.Endpoints.Allowed),
		Tokens:                 minter{a.controlPlane, virtualClient},
		AcceptsToken:           acceptsToken,
		PodCertificates:        controlplane.NewPodCertifier(virtualClient),
	}
	for _, kind := range allKinds(options, a.patches) {
		if o.hostFirstOnly && !slices.Contains(hostFirstKinds(), kind.Name()) {
			continue
		}
		if err := s.engine.Add(kind); err != nil {
			return fmt.Errorf("cannot sync %s: %w", kind.Name(), err)
		}
	}
	return nil
}

// allKinds returns all kinds that are enabled, with their patches.
func allKinds(options kinds.Options, changes patches.Patches) []syncer.Kind {
	var all []syncer.Kind
	for _, row := range kinds.Table() {
		all = append(all, changes.Patched(row, row.Define(options))...)
	}
	return append(all, kinds.Replicated(options)...)
}

// leftovers returns the kinds that are switched off and may still have copies on the host.
func leftovers(values *v1alpha1.Config) []syncer.Leftover {
	options := kinds.Options{
		Sync: values.Sync, Replicate: values.Networking.ReplicateServices, NetworkPolicy: values.Policies.NetworkPolicy,
	}
	all := kinds.ReplicatedLeftovers(options)
	for _, row := range kinds.Table() {
		all = append(all, row.Leftovers(options)...)
	}
	return all
}

// hostNames returns the lookup of host names of Ingresses, nil if host names need not be unique.
func (a *connectedApp) hostNames() (kinds.HostNames, error) {
	if !a.values.Sync.IsEnabled("sync.toHost.ingresses") || !a.values.Policies.Ingresses.UniqueHosts {
		return nil, nil //nolint:nilnil // The kind of Ingresses then skips the lookup.
	}
	host, err := kubernetes.NewForConfig(syncer.AnswerOnce(a.leaderHost))
	if err != nil {
		return nil, fmt.Errorf("cannot build a client of the host: %w", err)
	}
	return hostnames.New(host.NetworkingV1().Ingresses(metav1.NamespaceAll), a.cluster().UID), nil
}
