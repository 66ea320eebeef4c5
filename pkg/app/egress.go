package app

import (
	"context"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/component-base/metrics/legacyregistry"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/egress"
	"github.com/sublet-dev/sublet/pkg/syncer"
)

// newDialer builds the dialer of the API server. It does not depend on the sync engine. It reads virtual
// objects from destinations, and gets host pods one by one.
func (a *connectedApp) newDialer(destinations *egress.Objects) (*egress.Dialer, error) {
	settings := a.values.Policies.ControlPlane.Egress
	allowed, err := v1alpha1.ParseCIDRs(settings.AllowedCIDRs)
	if err != nil {
		return nil, fmt.Errorf("policies.controlPlane.egress.allowedCIDRs: %w", err)
	}
	services, err := a.serviceRanges()
	if err != nil {
		return nil, err
	}
	return egress.New(egress.Options{
		Cluster: a.cluster(),
		Virtual: destinations,
		HostPod: func(ctx context.Context, key types.NamespacedName) (*corev1.Pod, error) {
			return getHostPod(ctx, a.tenantClient, key)
		},
		HostServices:  a.hostServices(),
		Closed:        a.closedAddresses(),
		ServiceRanges: services,
		AllowedCIDRs:  allowed,
		AllowedHosts:  settings.AllowedHosts,
		Register:      legacyregistry.Register,
	})
}

// getHostPod reads a host pod. It returns code 429 if the read ran out of time after it had waited for the host limits. A
// tenant can fill their queue, so that the host has no time to respond.
func getHostPod(ctx context.Context, client kubernetes.Interface, key types.NamespacedName) (*corev1.Pod, error) {
	var delayed atomic.Bool
	pod, err := client.CoreV1().Pods(key.Namespace).Get(syncer.WithDelayRecord(ctx, &delayed), key.Name, metav1.GetOptions{})
	if err != nil && ctx.Err() != nil && delayed.Load() {
		return nil, apierrors.NewTooManyRequests("cannot read host pod within the host limits in time", 1)
	}
	return pod, err
}

// hostServices returns the virtual Services that are replicated from the host.
func (a *configuration) hostServices() []types.NamespacedName {
	entries := a.values.Networking.ReplicateServices.FromHost
	keys := make([]types.NamespacedName, 0, len(entries))
	for _, entry := range entries {
		namespace, name, _ := strings.Cut(entry.To, "/")
		keys = append(keys, types.NamespacedName{Namespace: namespace, Name: name})
	}
	return keys
}

// serviceRanges returns the Service CIDRs of the host.
func (a *appWithFacts) serviceRanges() ([]netip.Prefix, error) {
	ranges, err := v1alpha1.ParseCIDRs(strings.Split(a.facts.ServiceCIDR, ","))
	if err != nil {
		return nil, fmt.Errorf("cannot read the range of Services: %w", err)
	}
	return ranges, nil
}

// closedAddresses returns the addresses of this process and of the host's API server, which the
// dialer never connects to.
func (a *connectedApp) closedAddresses() []netip.Addr {
	texts := []string{a.options.AdvertiseAddress, a.options.BindAddress, a.facts.ServiceIP, a.facts.DNSServiceIP}
	if server, err := url.Parse(a.host.Host); err == nil {
		texts = append(texts, server.Hostname())
	}
	var closed []netip.Addr
	for _, text := range texts {
		if address, err := netip.ParseAddr(text); err == nil {
			closed = append(closed, address.Unmap())
		}
	}
	return closed
}

// watchDestinations passes the virtual pods and Services to the dialer until ctx ends.
func (a *builtApp) watchDestinations(ctx context.Context) error {
	select {
	case <-a.controlPlane.Ready():
	case <-ctx.Done():
		return nil
	}
	return a.destinations.Watch(ctx, a.controlPlane.Informers(), a.done)
}
