package kinds

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/policy"
	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// EndpointSlices copies the slices of Services that the tenant writes. The host itself creates the
// slices of Services with a selector. Endpoints objects are included, because a controller of the
// virtual cluster mirrors them into slices.
//
// It only copies the addresses of the tenant's own host pods, and those that the operator allows.
// Admission denies others. But the address of a pod may later belong to another pod, so the slice
// is updated when the pod ends. An update that the host refuses removes the address all the same.
func EndpointSlices(o Options) syncer.Resource[*discoveryv1.EndpointSlice, *discoveryv1.EndpointSlice] {
	return syncer.Resource[*discoveryv1.EndpointSlice, *discoveryv1.EndpointSlice]{
		Owner: syncer.Virtual,
		Names: translate.Hashed,
		Want:  shouldCopySlice,
		Down: func(s syncer.Scope, virtual, host *discoveryv1.EndpointSlice) error {
			return fillHostSlice(o.Endpoints, s, virtual, host)
		},
		Narrow: narrowSlice,
		Indexes: []syncer.Index{
			{Side: syncer.Virtual, Object: &discoveryv1.EndpointSlice{}, Field: byService, Values: serviceOfSlice},
			{Side: syncer.Virtual, Object: &discoveryv1.EndpointSlice{}, Field: byAddress, Values: addressesOfSlice},
			{Side: syncer.Host, Object: &corev1.Pod{}, Field: byAddress, Values: addressesOfPod},
		},
		Also: []syncer.Watch{
			{Side: syncer.Virtual, Object: &corev1.Service{}, Keys: slicesOfService},
			{Side: syncer.Host, Object: &corev1.Pod{}, Keys: slicesOfPod},
		},
	}
}

// byService is the field of the index of virtual slices by their Service.
const byService = "service"

func serviceOfSlice(o client.Object) []string {
	if name := o.GetLabels()[discoveryv1.LabelServiceName]; name != "" {
		return []string{name}
	}
	return nil
}

func slicesOfService(s syncer.Scope, service client.Object) ([]types.NamespacedName, error) {
	var found discoveryv1.EndpointSliceList
	err := s.Virtual.List(s.Context, &found, client.InNamespace(service.GetNamespace()),
		client.MatchingFields{byService: service.GetName()}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return nil, err
	}
	return keysOf(found.Items, nil), nil
}

// shouldCopySlice reports whether a slice belongs to a synced Service. That may also have a selector:
// proxies then use its slices in addition to those of the selector.
func shouldCopySlice(s syncer.Scope, virtual, _ *discoveryv1.EndpointSlice) (bool, error) {
	if !translate.MayCopySlice(virtual) {
		return false, nil
	}
	name := virtual.Labels[discoveryv1.LabelServiceName]
	var service corev1.Service
	found, err := lookUp(s, syncer.Virtual, types.NamespacedName{Namespace: virtual.Namespace, Name: name}, &service)
	return found && translate.ShouldCopyService(&service), err
}

// fillHostSlice fills in the host slice. It removes references to virtual objects, and addresses
// that the slice must not have.
func fillHostSlice(allowed policy.Ranges, s syncer.Scope, virtual, host *discoveryv1.EndpointSlice) error {
	host.Labels = translate.SyncServiceLabels(host.Labels, virtual.Labels)
	host.Labels[discoveryv1.LabelServiceName] = hostName(s, virtual.Namespace, virtual.Labels[discoveryv1.LabelServiceName])
	host.Labels[discoveryv1.LabelManagedBy] = labels.Domain
	host.AddressType, host.Ports, host.Endpoints = virtual.AddressType, virtual.Ports, nil
	for _, endpoint := range virtual.Endpoints {
		var own []string
		for _, address := range endpoint.Addresses {
			ok, err := isOwnEndpoint(allowed, s, address)
			if err != nil {
				return err
			}
			if ok {
				own = append(own, address)
			}
		}
		if len(own) == 0 {
			continue
		}
		endpoint.Addresses, endpoint.TargetRef, endpoint.DeprecatedTopology = own, nil, nil
		host.Endpoints = append(host.Endpoints, endpoint)
	}
	return nil
}

// isOwnEndpoint reports whether a host slice may have an address.
func isOwnEndpoint(allowed policy.Ranges, s syncer.Scope, address string) (bool, error) {
	if allowed.ContainsAddress(address) {
		return true, nil
	}
	return OwnsAddress(s.Context, s.Host, s.Cluster, address)
}

// narrowSlice removes the addresses from a host slice that the wanted slice does not have.
func narrowSlice(host, wanted *discoveryv1.EndpointSlice) {
	kept := map[string]bool{}
	for _, endpoint := range wanted.Endpoints {
		for _, address := range endpoint.Addresses {
			kept[address] = true
		}
	}
	var endpoints []discoveryv1.Endpoint
	for _, endpoint := range host.Endpoints {
		endpoint.Addresses = slices.DeleteFunc(slices.Clone(endpoint.Addresses), func(address string) bool { return !kept[address] })
		if len(endpoint.Addresses) > 0 {
			endpoints = append(endpoints, endpoint)
		}
	}
	host.Endpoints = endpoints
}
