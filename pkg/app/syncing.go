package app

import (
	"context"
	"fmt"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	componentversion "k8s.io/component-base/version"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/app/lifecycle"
	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
	"github.com/sublet-dev/sublet/pkg/policy"
	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/syncer/kinds"
)

// runSyncing runs the syncer and the virtual scheduler for one term of the leader.
// Both are built again for each term: their memory of an earlier one is stale.
func (a *app) runSyncing(ctx context.Context) error {
	virtual := a.controlPlane.ClientConfig(syncerUser, pki.GroupAdmins)
	var leftovers []syncer.Leftover
	for _, row := range kinds.Table() {
		leftovers = append(leftovers, row.Leftovers(kinds.Options{Sync: a.values.Sync})...)
	}
	engine, err := syncer.NewEngine(syncer.Options{
		Cluster: a.cluster(), Virtual: virtual, Host: a.host,
		VirtualInformers: virtualInformers{a.controlPlane, a.done},
		HostLimiter:      a.limiter,
		ObjectLimits:     objectLimits(a.values.Policies),
		MayWrite:         a.holder.MayWrite,
		Leftovers:        leftovers,
	})
	if err != nil {
		return err
	}
	scheduling, err := a.newScheduling(engine)
	if err != nil {
		return err
	}
	if err := a.addKinds(ctx, engine, scheduling, virtual); err != nil {
		return err
	}
	a.hostFirst.engine.Store(engine)
	defer a.hostFirst.engine.Store(nil)
	defer a.health.add(engine.Checks)()

	mirror := func(ctx context.Context) error { return a.runLimits(ctx, engine, virtual) }
	parts := append([]lifecycle.Part{{Name: "syncer", Run: engine.Run}, {Name: "limits", Run: mirror}}, scheduling.parts()...)
	return lifecycle.Run(ctx, parts, nil)
}

// objectLimits returns the limits of copies on the host.
func objectLimits(policies v1alpha1.Policies) syncer.ObjectLimits {
	bytes := map[string]int64{}
	for name, size := range policies.Objects.Bytes {
		bytes[string(name)] = size.Value()
	}
	return syncer.ObjectLimits{Count: policies.CopyCounts(), Bytes: bytes}
}

// addKinds registers every kind that the settings ask for.
func (a *app) addKinds(ctx context.Context, engine *syncer.Engine, scheduling scheduling, virtual *rest.Config) error {
	virtualClient, err := kubernetes.NewForConfig(virtual)
	if err != nil {
		return err
	}
	options := kinds.Options{
		Sync:                   a.values.Sync,
		NetworkPolicy:          a.values.Policies.NetworkPolicy,
		PodPolicy:              policy.NewPods(a.values.Policies, a.values.ControlPlane.Advanced.VirtualScheduler.Enabled),
		AlwaysPull:             a.values.Policies.Images.AlwaysPull,
		VirtualScheduler:       a.values.ControlPlane.Advanced.VirtualScheduler.Enabled,
		QuotaScope:             a.values.Policies.HasResourceQuota(),
		Proposals:              scheduling.proposals(),
		Usage:                  scheduling.nodeUsage(),
		WorkloadServiceAccount: a.names.Workload(),
		KubernetesServiceIP:    a.facts.ServiceIP,
		DNSServiceIP:           a.facts.DNSServiceIP,
		ClusterDomain:          a.values.Networking.Advanced.ClusterDomain,
		KubeletVersion:         componentversion.Get().GitVersion,
		Services:               policy.NewServices(a.values.Policies.Services),
		TermStart:              time.Now(),
		Endpoints:              policy.NewRanges(a.values.Policies.Endpoints.Allowed),
		Tokens:                 minter{a.controlPlane, virtualClient},
	}
	for _, row := range kinds.Table() {
		for _, kind := range row.Define(options) {
			if err := engine.Add(ctx, kind); err != nil {
				return fmt.Errorf("cannot sync %s: %w", kind.Name(), err)
			}
		}
	}
	return nil
}
