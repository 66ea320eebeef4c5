package app

import (
	"context"
	"fmt"

	"k8s.io/component-base/metrics/legacyregistry"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
	"github.com/sublet-dev/sublet/pkg/dns"
)

// buildDNS builds the DNS server, which answers only pods of this virtual cluster. It builds
// none if the DNS port is off.
func (a *builtApp) buildDNS() error {
	if a.options.DNSPort < 0 || !a.options.servesAPI() {
		return nil
	}
	settings := a.values.Networking.Advanced
	hosts, rewrite := a.values.Networking.FixedNames()
	allowed, err := v1alpha1.ParseCIDRs(settings.DNS.AllowedCIDRs)
	if err != nil {
		return fmt.Errorf("networking.advanced.dns.allowedCIDRs: %w", err)
	}
	services, err := a.serviceRanges()
	if err != nil {
		return err
	}
	a.dnsPods = dns.NewPods()
	a.dns, err = dns.New(dns.Options{
		Virtual:          a.controlPlane.ClientConfig(dnsUser, pki.GroupAdmins),
		ClusterDomain:    settings.ClusterDomain,
		Address:          a.options.dnsAddress(),
		Pods:             a.dnsPods,
		Allowed:          allowed,
		QueriesPerSecond: float32(settings.DNS.QueriesPerSecond),
		HostRanges:       services,
		Hosts:            hosts,
		Rewrite:          rewrite,
		Forward:          settings.DNS.Forward,
		Register:         legacyregistry.Register,
	})
	return err
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
	registration, err := informer.AddEventHandler(a.dnsPods)
	if err != nil {
		return fmt.Errorf("cannot watch virtual pods for DNS: %w", err)
	}
	factory.Start(a.done)
	<-ctx.Done()
	return informer.RemoveEventHandler(registration)
}
