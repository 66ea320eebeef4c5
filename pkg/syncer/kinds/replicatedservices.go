package kinds

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// removedNamespace is the namespace of the keys of host Services whose entry was removed from the
// settings. No namespace has this name, so they are orphans and get deleted.
const removedNamespace = "removed.sublet.dev"

// Replicated returns the kinds for networking.replicateServices. The kinds of Services also run
// without an entry, to delete the copies of removed entries.
func Replicated(o Options) []syncer.Kind {
	var replicated []syncer.Kind
	if o.Sync.IsEnabled("sync.toHost.services") {
		replicated = append(replicated,
			syncer.Define("replicatedservices", ReplicatedServices(o)),
			syncer.Define("hostservices", HostServices(o)))
	}
	if len(o.Replicate.FromHost) > 0 {
		replicated = append(replicated, syncer.Define("hostendpoints", HostEndpoints(o)))
	}
	if o.opensHostEndpoints() {
		replicated = append(replicated, syncer.Define("hostendpointpolicies", HostEndpointPolicies(o)))
	}
	return replicated
}

// ReplicatedLeftovers returns the kinds for networking.replicateServices that these options switch off, and
// that may still have copies on the host.
func ReplicatedLeftovers(o Options) []syncer.Leftover {
	if o.opensHostEndpoints() {
		return nil
	}
	return []syncer.Leftover{{Kind: syncer.Define("hostendpointpolicies", HostEndpointPolicies(o)), Quiet: true}}
}

// opensHostEndpoints reports whether the tenant's pods need NetworkPolicies to reach Services of the host.
func (o Options) opensHostEndpoints() bool {
	return len(o.Replicate.FromHost) > 0 && o.NetworkPolicy.Enabled
}

// toServicesOnHost are the entries of networking.replicateServices.toHost.
type toServicesOnHost []v1alpha1.ServiceToHost

// scheme names the host copies. The name of a key without an entry is empty.
func (t toServicesOnHost) scheme(c translate.Cluster, virtual types.NamespacedName) types.NamespacedName {
	key := types.NamespacedName{Namespace: c.Namespace}
	if virtual.Namespace == removedNamespace {
		key.Name = virtual.Name
		return key
	}
	if i := slices.IndexFunc(t, func(e v1alpha1.ServiceToHost) bool { return e.From == virtual.String() }); i >= 0 {
		key.Name = t[i].To
	}
	return key
}

// origin returns the virtual key of a host copy. Tenants cannot set the label, because their labels are
// renamed on the host.
func (t toServicesOnHost) origin(s syncer.Scope, host *corev1.Service) (types.NamespacedName, bool) {
	if host.Labels[labels.Cluster] != s.Cluster.UID || host.Labels[labels.Replica] != "true" {
		return types.NamespacedName{}, false
	}
	virtual, _, ours := translate.Origin(s.Cluster, t.scheme, host)
	if !ours {
		return types.NamespacedName{Namespace: removedNamespace, Name: host.Name}, true
	}
	return virtual, true
}

// ReplicatedServices creates a host Service with the configured name for each entry of
// networking.replicateServices.toHost.
func ReplicatedServices(o Options) syncer.Resource[*corev1.Service, *corev1.Service] {
	entries := toServicesOnHost(o.Replicate.ToHost)
	return syncer.Resource[*corev1.Service, *corev1.Service]{
		Owner:  syncer.Virtual,
		Names:  entries.scheme,
		Origin: entries.origin,
		Want: func(s syncer.Scope, virtual, _ *corev1.Service) (bool, error) {
			key := types.NamespacedName{Namespace: virtual.Namespace, Name: virtual.Name}
			return entries.scheme(s.Cluster, key).Name != "" && len(virtual.Spec.Selector) > 0 &&
				virtual.Spec.Type != corev1.ServiceTypeExternalName, nil
		},
		Down: func(s syncer.Scope, virtual, host *corev1.Service) error {
			fillReplica(s.Cluster, virtual, host)
			return nil
		},
		StatusBlind: true,
	}
}

// fillReplica fills in a replicated host Service. It keeps what the host has assigned.
func fillReplica(c translate.Cluster, virtual, host *corev1.Service) {
	metav1.SetMetaDataLabel(&host.ObjectMeta, labels.Replica, "true")
	assigned := host.Spec
	host.Spec = corev1.ServiceSpec{
		Type:                     corev1.ServiceTypeClusterIP,
		Selector:                 translate.ServiceSelector(c, virtual.Namespace, virtual.Spec.Selector),
		Ports:                    slices.Clone(virtual.Spec.Ports),
		PublishNotReadyAddresses: virtual.Spec.PublishNotReadyAddresses,
		SessionAffinity:          virtual.Spec.SessionAffinity,
		SessionAffinityConfig:    virtual.Spec.SessionAffinityConfig,
		InternalTrafficPolicy:    virtual.Spec.InternalTrafficPolicy,
		TrafficDistribution:      virtual.Spec.TrafficDistribution,
		ClusterIP:                assigned.ClusterIP,
		ClusterIPs:               assigned.ClusterIPs,
		IPFamilies:               assigned.IPFamilies,
		IPFamilyPolicy:           assigned.IPFamilyPolicy,
	}
	if assigned.ClusterIP == "" && virtual.Spec.ClusterIP == corev1.ClusterIPNone {
		host.Spec.ClusterIP = corev1.ClusterIPNone
	}
	for i := range host.Spec.Ports {
		host.Spec.Ports[i].NodePort = 0
	}
}

// parseServiceKey returns the key of a path of the settings.
func parseServiceKey(path string) types.NamespacedName {
	namespace, name, _ := strings.Cut(path, "/")
	return types.NamespacedName{Namespace: namespace, Name: name}
}
