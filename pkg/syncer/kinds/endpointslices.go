package kinds

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// EndpointSlices copies the slices of virtual Services without a selector, for which the
// host finds no endpoints by itself. A tenant's Endpoints object is included: a controller
// of the virtual cluster mirrors it into a slice.
//
// Addresses are copied as they are. The virtual API server denies loopback and link-local
// ones.
func EndpointSlices(Options) syncer.Resource[*discoveryv1.EndpointSlice, *discoveryv1.EndpointSlice] {
	return syncer.Resource[*discoveryv1.EndpointSlice, *discoveryv1.EndpointSlice]{
		Owner:   syncer.Virtual,
		Names:   translate.Hashed,
		Want:    shouldCopySlice,
		Down:    fillHostSlice,
		Indexes: []syncer.Index{{Side: syncer.Virtual, Object: &discoveryv1.EndpointSlice{}, Field: byService, Values: serviceOfSlice}},
		Also:    []syncer.Watch{{Side: syncer.Virtual, Object: &corev1.Service{}, Keys: slicesOfService}},
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
	var slices discoveryv1.EndpointSliceList
	err := s.Virtual.List(s.Context, &slices, client.InNamespace(service.GetNamespace()),
		client.MatchingFields{byService: service.GetName()}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return nil, err
	}
	keys := make([]types.NamespacedName, 0, len(slices.Items))
	for i := range slices.Items {
		keys = append(keys, client.ObjectKeyFromObject(&slices.Items[i]))
	}
	return keys, nil
}

// endpointSliceController is the controller of slices of Services with a selector. The
// host runs it too.
const endpointSliceController = "endpointslice-controller.k8s.io"

// shouldCopySlice reports whether a slice belongs to a synced Service without a selector.
func shouldCopySlice(s syncer.Scope, virtual, _ *discoveryv1.EndpointSlice) (bool, error) {
	name := virtual.Labels[discoveryv1.LabelServiceName]
	if name == "" || virtual.Labels[discoveryv1.LabelManagedBy] == endpointSliceController {
		return false, nil
	}
	var service corev1.Service
	err := s.Virtual.Get(s.Context, types.NamespacedName{Namespace: virtual.Namespace, Name: name}, &service, client.UnsafeDisableDeepCopy)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return translate.ShouldCopyService(&service) && len(service.Spec.Selector) == 0, nil
}

// fillHostSlice fills in the host slice. It drops references to virtual objects.
func fillHostSlice(s syncer.Scope, virtual, host *discoveryv1.EndpointSlice) error {
	host.Labels = translate.SyncLabels(host.Labels, virtual.Labels)
	host.Labels[discoveryv1.LabelServiceName] = hostName(s, virtual.Namespace, virtual.Labels[discoveryv1.LabelServiceName])
	host.Labels[discoveryv1.LabelManagedBy] = labels.Domain
	host.AddressType, host.Ports, host.Endpoints = virtual.AddressType, virtual.Ports, virtual.Endpoints
	for i := range host.Endpoints {
		host.Endpoints[i].TargetRef = nil
		host.Endpoints[i].DeprecatedTopology = nil
	}
	return nil
}
