package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/pkg/app/host"
	"github.com/sublet-dev/sublet/pkg/app/lifecycle"
	"github.com/sublet-dev/sublet/pkg/app/patches"
	"github.com/sublet-dev/sublet/pkg/config"
	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
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
	a := &app{
		configuration: &configuration{options: options, values: values, names: options.names()},
		process:       &process{patches: changes, health: &health{}, hostFirst: &hostFirst{}, informers: syncer.NewInformerMonitor(), memoryLimit: limit},
	}
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

// serve runs the virtual cluster once this replica is the holder. A replica that was superseded
// by its successor stays alive but serves nothing until it is deleted. A restart would not
// change that.
func (a *app) serve(ctx context.Context) error {
	connected, err := a.connectHost(ctx)
	switch {
	case ctx.Err() != nil:
		return nil //nolint:nilerr // The process was stopped before it could start.
	case err != nil:
		return fmt.Errorf("cannot start without the host: %w", err)
	}
	open, err := connected.open(ctx)
	if err != nil {
		return err
	}
	built, err := open.build()
	if err != nil {
		return err
	}
	election, err := built.newElection()
	if err != nil {
		return err
	}
	built.holder.SetLease(election.Holds)
	err = lifecycle.Run(ctx, built.parts(), election)
	if errors.Is(err, host.ErrSuperseded) {
		a.health.setStandby(err.Error())
		<-ctx.Done()
		return nil
	}
	return err
}

// connectHost discovers the facts of the host that the parts need, and makes this replica the
// holder.
func (a *app) connectHost(ctx context.Context) (*connectedApp, error) {
	config, err := hostConfig(a.options.HostKubeconfig)
	if err != nil {
		return nil, err
	}
	unproven, err := newHostClaims(config)
	if err != nil {
		return nil, err
	}
	events := host.NewEvents(unproven.reports, a.names.Namespace)
	context.AfterFunc(ctx, events.Stop)
	discovery := &host.Discovery{
		Client:      unproven.claims,
		Release:     a.names,
		Identity:    a.options.identity(),
		IsShared:    a.isShared,
		DataDir:     a.options.DataDir,
		ServiceCIDR: a.values.Networking.ServiceCIDR,
		NewCerts:    newCerts,

		NodePortRange: a.values.Networking.ServiceNodePortRange,
		AsksNodePorts: a.values.Sync.IsEnabled("sync.toHost.services"),
		CompleteCerts: pki.WithPeers,
		CheckCerts:    checkCerts,
		Events:        events,
		Clock:         clock.RealClock{},
	}
	facts, holder, err := discovery.Discover(ctx, a.health.setStandby)
	if err != nil {
		return nil, err
	}
	a.health.setStarting()
	bundle, err := pki.FromSecret(facts.Certs)
	if err != nil {
		return nil, fmt.Errorf("cannot use host Secret %s/%s: %w", a.names.Namespace, a.names.Certs(), err)
	}
	clients, err := unproven.open(holder, newHostLimiter(a.values.ControlPlane.Advanced.HostClient))
	if err != nil {
		return nil, err
	}
	connected := &connectedApp{
		appWithFacts: &appWithFacts{configuration: a.configuration, facts: facts},
		process:      a.process,
		done:         ctx.Done(),
		hostClients:  clients,
		holder:       holder,
		bundle:       bundle,
		events:       events,
	}
	connected.reportStore = connected.showStandby
	return connected, nil
}

// newCerts returns the data of a certs Secret with a new certificate authority.
func newCerts(now time.Time) (map[string][]byte, error) {
	bundle, err := pki.New(now)
	if err != nil {
		return nil, err
	}
	return bundle.Secret(), nil
}

// cluster returns the identity of the virtual cluster on the host.
func (a *appWithFacts) cluster() translate.Cluster {
	return translate.Cluster{
		UID: string(a.facts.Anchor.UID), Name: a.names.Name, Namespace: a.names.Namespace, Anchor: a.facts.Anchor,
	}
}

// parts returns all parts in the order in which they start.
func (a *builtApp) parts() []lifecycle.Part {
	members := a.store.members
	parts := []lifecycle.Part{
		{Name: "memory", Run: newMemoryKeeper(a.controlPlane.Ready(), a.memoryLimit).Run},
		{Name: "holder", Run: a.holder.Run},
		{Name: "node proxy", Run: a.proxy.Run},
		{Name: "issuers of tokens", Run: a.issuersFile.Run},
	}
	if members != nil && members.leaf != nil {
		parts = append(parts, lifecycle.Part{Name: "certificate for other members", Run: members.renewPeer})
	}
	parts = append(parts,
		lifecycle.Part{Name: "control plane", Run: a.controlPlane.Run, Ready: a.controlPlane.Ready(), Grace: members.leaveGrace()},
		lifecycle.Part{Name: "destinations", Run: a.watchDestinations},
		lifecycle.Part{Name: "health", Run: a.runHealth})
	parts = append(parts, a.storeParts()...)
	parts = append(parts, a.definitionParts()...)
	if a.dns != nil {
		parts = append(parts, lifecycle.Part{Name: "DNS", Run: a.dns.Run}, lifecycle.Part{Name: "DNS clients", Run: a.watchDNSPods})
	}
	if members != nil {
		parts = append(parts, lifecycle.Part{Name: "members of the store", Run: members.run})
	}
	if a.address != nil {
		parts = append(parts, lifecycle.Part{Name: "address", Run: a.address.Run})
	}
	for _, secret := range a.secrets.keepers {
		parts = append(parts, lifecycle.Part{Name: secret.CheckName, Run: secret.Run})
	}
	if a.others != nil {
		parts = append(parts, lifecycle.Part{Name: "replicas", Run: a.others.desired.Run}, lifecycle.Part{Name: "standby", Run: a.runStandby})
	}
	parts = append(parts, a.scalingParts()...)
	if a.backups != nil {
		parts = append(parts, lifecycle.Part{Name: "backups", Run: a.backups.Run, Leader: true})
	}
	parts = append(parts, lifecycle.Part{Name: "record of the leader", Run: a.recordTerm, Leader: true},
		lifecycle.Part{Name: "controllers", Run: a.controlPlane.RunControllers, Leader: true},
		lifecycle.Part{Name: "encryption", Run: a.controlPlane.RunEncryption, Leader: true},
		lifecycle.Part{Name: "collector of finished pods", Run: a.runPodGC, Leader: true},
		lifecycle.Part{Name: "roles of exported accounts", Run: a.secrets.exported.Run, Leader: true},
		lifecycle.Part{Name: "syncing", Run: a.runSyncing, Leader: true})
	parts = append(parts, a.manifestParts()...)
	if !a.options.canLead() {
		return withoutLeaderParts(parts)
	}
	return parts
}
