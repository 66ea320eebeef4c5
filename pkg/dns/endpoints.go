package dns

import (
	"context"
	"net/netip"
	"slices"

	"github.com/coredns/coredns/plugin/kubernetes"
	"github.com/coredns/coredns/plugin/kubernetes/object"
	corev1 "k8s.io/api/core/v1"
)

// maxRecords is how many pairs of an address and a port one Service has. CoreDNS makes a record of each for
// every query. An answer has room for about 4096 addresses.
const maxRecords = 16384

// cachedObjects is the cache of CoreDNS. Its own interface has no exported name.
type cachedObjects interface { //nolint:interfacebloat // It is CoreDNS's.
	ServiceList() []*object.Service
	EndpointsList() []*object.Endpoints
	ServiceImportList() []*object.ServiceImport
	SvcIndex(key string) []*object.Service
	SvcIndexReverse(key string) []*object.Service
	SvcExtIndexReverse(key string) []*object.Service
	SvcImportIndex(key string) []*object.ServiceImport
	PodIndex(key string) []*object.Pod
	EpIndex(key string) []*object.Endpoints
	EpIndexReverse(key string) []*object.Endpoints
	McEpIndex(key string) []*object.MultiClusterEndpoints
	GetNodeByName(ctx context.Context, name string) (*corev1.Node, error)
	GetNamespaceByName(name string) (*object.Namespace, error)
	Run()
	HasSynced() bool
	Stop() error
	Modified(mode kubernetes.ModifiedMode) int64
}

// boundedEndpoints is a cache without endpoints that are names, and with at most maxRecords of a Service. CoreDNS
// follows each name within the query, and the slices of a tenant may lead to one another in a tree without end.
type boundedEndpoints struct{ cachedObjects }

// EpIndex returns the endpoints of a Service. Those of the cache stay as they are.
func (e boundedEndpoints) EpIndex(service string) []*object.Endpoints {
	all := e.cachedObjects.EpIndex(service)
	kept := make([]*object.Endpoints, 0, len(all))
	left := maxRecords
	for _, slice := range all {
		bounded := *slice
		bounded.Subsets = nil
		for _, subset := range slice.Subsets {
			subset = boundSubset(subset, left)
			left -= len(subset.Addresses) * len(subset.Ports)
			bounded.Subsets = append(bounded.Subsets, subset)
		}
		kept = append(kept, &bounded)
	}
	return kept
}

// boundSubset returns a subset without names and with at most that many records.
func boundSubset(subset object.EndpointSubset, most int) object.EndpointSubset {
	subset.Ports = subset.Ports[:min(len(subset.Ports), most)]
	if slices.ContainsFunc(subset.Addresses, isName) {
		subset.Addresses = slices.DeleteFunc(slices.Clone(subset.Addresses), isName)
	}
	subset.Addresses = subset.Addresses[:min(len(subset.Addresses), most/max(len(subset.Ports), 1))]
	return subset
}

// isName reports whether an endpoint is a name.
func isName(endpoint object.EndpointAddress) bool {
	_, err := netip.ParseAddr(endpoint.IP)
	return err != nil
}
