package app

import (
	"context"
	"fmt"

	"k8s.io/component-base/metrics/legacyregistry"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/controlplane"
	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
	"github.com/sublet-dev/sublet/pkg/dns"
)

// dnsServer is the DNS server of this replica, which answers only pods of this virtual cluster.
type dnsServer struct {
	*dns.Server

	pods *dns.Pods // the pods that it answers
}

// newDNS returns the DNS server, nil if this replica serves no DNS.
func (a *connectedApp) newDNS(plane *controlplane.ControlPlane) (*dnsServer, error) {
	if a.options.DNSPort < 0 || !a.options.servesAPI() {
		return nil, nil //nolint:nilnil // There is no DNS to serve.
	}
	settings := a.values.Networking.Advanced
	hosts, rewrite := a.values.Networking.FixedNames()
	allowed, err := v1alpha1.ParseCIDRs(settings.DNS.AllowedCIDRs)
	if err != nil {
		return nil, fmt.Errorf("networking.advanced.dns.allowedCIDRs: %w", err)
	}
	services, err := a.serviceRanges()
	if err != nil {
		return nil, err
	}
	pods := dns.NewPods()
	server, err := dns.New(dns.Options{
		Virtual:          plane.ClientConfig(dnsUser, pki.GroupAdmins),
		ClusterDomain:    settings.ClusterDomain,
		Address:          a.options.dnsAddress(),
		Pods:             pods,
		Allowed:          allowed,
		QueriesPerSecond: float32(settings.DNS.QueriesPerSecond),
		HostRanges:       services,
		Hosts:            hosts,
		Rewrite:          rewrite,
		Forward:          settings.DNS.Forward,
		Register:         legacyregistry.Register,
	})
	if err != nil {
		return nil, err
	}
	return &dnsServer{Server: server, pods: pods}, nil
}

// nodeSearches returns the search domains of the node that pods inherit, nil if that is off.
func (a *configuration) nodeSearches() []string {
	if !a.values.Networking.Advanced.DNS.NodeSearchDomains {
		return nil
	}
	return dns.NodeSearches("")
}

// dnsPodsUser returns the user name of DNS servers that run in pods of their own. It is empty if
// there are none.
func (a *configuration) dnsPodsUser() string {
	if a.values.ControlPlane.CoreDNS.Replicas == 0 {
		return ""
	}
	return dnsUser
}

// watchDNSPods passes the virtual pods to the DNS server until ctx ends. Pod addresses are in
// the store, so after a restart the DNS server soon answers running pods again.
func (a *builtApp) watchDNSPods(ctx context.Context) error {
	select {
	case <-a.controlPlane.Ready():
	case <-ctx.Done():
		return nil
	}
	factory := a.controlPlane.Informers()
	informer := factory.Core().V1().Pods().Informer()
	registration, err := informer.AddEventHandler(a.dns.pods)
	if err != nil {
		return fmt.Errorf("cannot watch virtual pods for DNS: %w", err)
	}
	factory.Start(a.done)
	<-ctx.Done()
	return informer.RemoveEventHandler(registration)
}
