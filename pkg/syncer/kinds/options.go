package kinds

import (
	"context"
	"slices"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/policy"
	"github.com/sublet-dev/sublet/pkg/syncer/kinds/nodes"
)

// networkPoliciesSetting is the path of the settings of the tenant's NetworkPolicies.
const networkPoliciesSetting = "sync.toHost.networkPolicies"

// Options configure the kinds of one virtual cluster. They do not change while the server runs.
type Options struct {
	// Sync are the settings of sync.
	Sync v1alpha1.Sync

	// PodPolicy checks a pod again before it gets a host copy, because it may have been stored
	// before the policy. Default: nil, every pod may run.
	PodPolicy *policy.Pods
	// Devices checks a ResourceClaim again before it gets a host copy. Default: the strictest
	// rules.
	Devices policy.Devices
	// RuntimeHandlers are the handlers that runtime classes of the tenant's own may have, each
	// with the runtime class of the host.
	RuntimeHandlers map[string]string
	// AlwaysPull specifies whether the host pulls every image with the pod's credentials.
	// Default: false.
	AlwaysPull bool

	// VirtualScheduler specifies whether a scheduler of the virtual cluster picks nodes,
	// so that a tenant's cordons and taints count. Default: false.
	VirtualScheduler bool
	// QuotaScope specifies whether a quota of the host counts the tenant's pods apart from
	// the control plane's own. Default: false.
	QuotaScope bool
	// Proposals returns proposals of the virtual scheduler that are not written into the pods.
	// Default: nil, all are written.
	Proposals Proposals
	// Usage is subtracted from the allocatable resources of virtual nodes. Default: nil,
	// which shows those of the host.
	Usage nodes.Usage

	// NetworkPolicy are the settings of the release's own NetworkPolicies. Default: it has
	// none.
	NetworkPolicy v1alpha1.NetworkPolicy

	// WorkloadServiceAccount is the host service account of tenants' pods. It has no
	// permissions, and its token is mounted nowhere.
	WorkloadServiceAccount string
	// WorkloadPullSecrets are Secrets of the host namespace that every tenant's pod pulls
	// images with. Default: none.
	WorkloadPullSecrets []corev1.LocalObjectReference
	// KubernetesServiceIP is the address of the virtual Service
	// default/kubernetes.
	KubernetesServiceIP string
	// DNSServiceIP is the address of the virtual Service kube-system/kube-dns.
	DNSServiceIP string
	// ClusterDomain is the DNS domain of the virtual cluster, such as
	// "cluster.local".
	ClusterDomain string
	// NodeSearches are search domains of nodes that pods get too. Default: none.
	NodeSearches []string
	// KubeletVersion is the kubelet version of a pseudo node.
	KubeletVersion string
	// TermStart returns the time at which the syncer started to lead. Default: the zero time,
	// which assumes that no pod ran unseen before.
	TermStart func() time.Time
	// Referrers are further kinds that refer to ConfigMaps and Secrets. Default: those of
	// the table.
	Referrers []Referrer
	// Replicate are the Services to replicate between the clusters. Default: none.
	Replicate v1alpha1.ReplicateServices
	// Services decides which annotations and external addresses of a Service are copied to the
	// host. Default: nil, none.
	Services ServiceRules
	// Ingresses decides which Ingresses reach the host. Default: nil, none does.
	Ingresses *policy.Ingresses
	// HostNames looks up the host names of other Ingresses. Default: nil, they are not checked.
	HostNames HostNames
	// Endpoints are the addresses that hand-made endpoints may have in addition to those of
	// the tenant's own pods. Default: none.
	Endpoints policy.Ranges
	// Tokens issues the service account tokens of tenants' pods.
	Tokens TokenMinter
	// AcceptsToken reports whether the virtual API server accepts tokens of an issuer that are
	// signed with a key. The key is the name in the header of a token.
	// Default: nil, all are accepted.
	AcceptsToken func(key, issuer string) bool
	// PodCertificates requests the certificates of tenants' pods.
	PodCertificates PodCertificateRequester
}

// ServiceRules decides which fields of a Service are copied to the host.
type ServiceRules interface {
	// PassesAnnotation reports whether an annotation is copied to the host Service.
	PassesAnnotation(key, value string) bool
	// AllowsExternalIP reports whether a Service may have an external IP.
	AllowsExternalIP(ip string) bool
	// IsTenantsBalancer reports whether a controller of the tenant implements the load balancer
	// of a Service.
	IsTenantsBalancer(service *corev1.Service) bool
}

// HostNames looks up the host names of all Ingresses of the host.
type HostNames interface {
	// Taken returns the sorted hosts that other Ingresses own. own is the copy that already has
	// hosts, nil for none. If two Ingresses have a host, the one that was looked up before owns
	// it, else the older one.
	Taken(ctx context.Context, hosts []string, own *networkingv1.Ingress) ([]string, error)
}

// TokenMinter issues tokens of service accounts of the virtual cluster.
type TokenMinter interface {
	// Mint issues a token for the service account namespace/name.
	Mint(ctx context.Context, namespace, name string, request *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error)
}

// PodCertificateRequester requests certificates for pods, as a kubelet does.
type PodCertificateRequester interface {
	// NewKey returns a new private key in PEM, and a name for the request with it.
	NewKey(keyType string) (name string, key []byte, err error)
	// Request creates a PodCertificateRequest, unless one of that name exists. It adds the UIDs
	// of the service account and of the node.
	Request(ctx context.Context, request *certificatesv1.PodCertificateRequest) error
}

// Proposals are the proposals of the virtual scheduler that are in memory.
type Proposals interface {
	// Proposed returns the node that is proposed for a virtual pod, empty if there is
	// none. Whenever it changes, the pod is reconciled.
	Proposed(pod types.UID) string
}

// usesVirtualScheduler reports whether a scheduler of the virtual cluster picks the
// node of a pod.
func (o Options) usesVirtualScheduler(virtual *corev1.Pod) bool {
	return o.VirtualScheduler && !slices.Contains(o.hostSchedulers(), virtual.Spec.SchedulerName)
}

// hostSchedulers returns the schedulers of the host that pods may name.
func (o Options) hostSchedulers() []string {
	return o.Sync.ToHost.Pods.HybridScheduling.HostSchedulers
}

// allowedNodes returns the labels of the nodes that pods may run on, empty for every node.
func allowedNodes(sync v1alpha1.Sync) map[string]string {
	selector := sync.FromHost.Nodes.Selector
	if !sync.IsEnabled("sync.fromHost.nodes") || selector.All || len(selector.Labels) == 0 {
		return sync.ToHost.Pods.NodeSelector
	}
	return selector.Labels
}
