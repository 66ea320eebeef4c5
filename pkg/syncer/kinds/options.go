package kinds

import (
	"context"
	"slices"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/syncer/kinds/nodes"
)

// Options is what the kinds must know of their virtual cluster beside its
// identity. All of it stays the same while the server runs.
type Options struct {
	// Sync is the part of the settings that the kinds follow.
	Sync v1alpha1.Sync

	// VirtualScheduler says that a scheduler of the virtual cluster picks nodes, so
	// that a tenant's cordons and taints count.
	VirtualScheduler bool
	// Proposals are the nodes that the virtual scheduler asks the host about and has
	// not written into the pods. nil says that it writes all of them.
	Proposals Proposals
	// Usage is taken off what virtual nodes offer. nil shows what the host offers.
	Usage nodes.Usage

	// WorkloadServiceAccount is the host service account that tenants' pods run
	// under. It has no rights and its token is mounted nowhere.
	WorkloadServiceAccount string
	// KubernetesServiceIP is the address of the virtual Service
	// default/kubernetes.
	KubernetesServiceIP string
	// DNSServiceIP is the address of the virtual Service kube-system/kube-dns.
	DNSServiceIP string
	// ClusterDomain is the DNS domain of the virtual cluster, such as
	// "cluster.local".
	ClusterDomain string
	// KubeletVersion is what a pseudo node says that its kubelet is.
	KubeletVersion string
	// Referrers are further kinds that refer to ConfigMaps and Secrets. Default: those of
	// the table.
	Referrers []Referrer
	// Tokens makes the tokens of tenants' pods.
	Tokens TokenMinter
}

// TokenMinter makes tokens of service accounts of the virtual cluster.
type TokenMinter interface {
	// Mint makes a token for the service account namespace/name.
	Mint(ctx context.Context, namespace, name string, request *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error)
}

// Proposals are what the virtual scheduler has in mind at the moment.
type Proposals interface {
	// Proposed is the node that the host is asked about for a virtual pod, empty if
	// none. Whenever it changes, the pod is looked at.
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
