package kinds

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apilabels "k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// HostServices copies Services of the host that the operator has configured. A copy has the cluster
// IP of its original, so the host's network routes it. If the tenant already has a Service of that
// name, it stays.
func HostServices(o Options) syncer.Resource[*corev1.Service, *corev1.Service] {
	r := fromServices(o.Replicate.FromHost, func() *corev1.Service { return &corev1.Service{} })
	r.CreatesNamespace = true
	r.Want = func(s syncer.Scope, virtual, host *corev1.Service) (bool, error) {
		wanted, err := isOfOriginal(s, virtual, host)
		return wanted && (virtual == nil || canHaveAddress(host, virtual)), err
	}
	r.Up = func(_ syncer.Scope, host, virtual *corev1.Service) error {
		copyMetadata(host, virtual)
		fillFromHost(host, virtual)
		return nil
	}
	return r
}

// canHaveAddress reports whether the copy of a Service of the host can have its address. The address of a Service
// cannot change, so the copy must be created again.
func canHaveAddress(host, virtual *corev1.Service) bool {
	return host.Spec.Type == corev1.ServiceTypeExternalName || virtual.Spec.Type == corev1.ServiceTypeExternalName ||
		host.Spec.ClusterIP == virtual.Spec.ClusterIP
}

// fillFromHost fills in the copy of a Service of the host.
func fillFromHost(host, virtual *corev1.Service) {
	spec := corev1.ServiceSpec{
		Type:                     corev1.ServiceTypeClusterIP,
		Ports:                    slices.Clone(host.Spec.Ports),
		ClusterIP:                host.Spec.ClusterIP,
		ClusterIPs:               host.Spec.ClusterIPs,
		IPFamilies:               host.Spec.IPFamilies,
		IPFamilyPolicy:           host.Spec.IPFamilyPolicy,
		PublishNotReadyAddresses: host.Spec.PublishNotReadyAddresses,
		SessionAffinity:          host.Spec.SessionAffinity,
		SessionAffinityConfig:    host.Spec.SessionAffinityConfig,
		InternalTrafficPolicy:    host.Spec.InternalTrafficPolicy,
		TrafficDistribution:      host.Spec.TrafficDistribution,
	}
	if host.Spec.Type == corev1.ServiceTypeExternalName {
		spec = corev1.ServiceSpec{
			Type: corev1.ServiceTypeExternalName, ExternalName: host.Spec.ExternalName, Ports: spec.Ports, SessionAffinity: spec.SessionAffinity,
		}
	}
	for i := range spec.Ports {
		spec.Ports[i].NodePort = 0
	}
	virtual.Spec = spec
}

// HostEndpoints creates an EndpointSlice for each copied Service of the host. It reads the Endpoints
// object, whose name is that of the Service, so that RBAC can be limited to that name.
func HostEndpoints(o Options) syncer.Resource[*discoveryv1.EndpointSlice, *corev1.Endpoints] { //nolint:staticcheck // Slices have names of their own.
	r := fromServices(o.Replicate.FromHost, func() *corev1.Endpoints { return &corev1.Endpoints{} }) //nolint:staticcheck // as above
	resource := syncer.Resource[*discoveryv1.EndpointSlice, *corev1.Endpoints]{                      //nolint:staticcheck // as above
		Owner: r.Owner, Names: r.Names, Origin: r.Origin, FindOriginal: r.FindOriginal, Select: r.Select, Places: r.Places,
		Also: []syncer.Watch{{Side: syncer.Virtual, Object: &corev1.Service{}, StatusBlind: true, Keys: ownKey}},
	}
	resource.Want = func(s syncer.Scope, virtual *discoveryv1.EndpointSlice, host *corev1.Endpoints) (bool, error) { //nolint:staticcheck // as above
		service, ok, err := copyOfHostService(s, o.Replicate.FromHost, host)
		if err != nil || !ok {
			return false, err
		}
		// A slice whose addresses change their type is recreated.
		return virtual == nil || translate.IsOfHostObject(virtual, host) && virtual.AddressType == addressTypeOf(host, service, virtual), nil
	}
	resource.Up = func(s syncer.Scope, host *corev1.Endpoints, virtual *discoveryv1.EndpointSlice) error { //nolint:staticcheck // as above
		service, ok, err := copyOfHostService(s, o.Replicate.FromHost, host)
		if err != nil || !ok {
			return err
		}
		copyMetadata(host, virtual)
		fillSliceFromHost(host, service, virtual)
		return nil
	}
	return resource
}

// fillSliceFromHost fills in the slice of a copy with the endpoints of its original.
func fillSliceFromHost(host *corev1.Endpoints, service *corev1.Service, virtual *discoveryv1.EndpointSlice) { //nolint:staticcheck // See [HostEndpoints].
	virtual.Labels = map[string]string{discoveryv1.LabelServiceName: service.Name, discoveryv1.LabelManagedBy: labels.Domain}
	virtual.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Service", Name: service.Name, UID: service.UID}}
	virtual.AddressType = addressTypeOf(host, service, virtual)
	virtual.Endpoints, virtual.Ports = nil, nil
	if len(host.Subsets) == 0 {
		return
	}
	// Subsets only differ in their ports. The first one has most of the endpoints.
	subset := host.Subsets[0]
	for _, port := range subset.Ports {
		virtual.Ports = append(virtual.Ports, discoveryv1.EndpointPort{
			Name: new(port.Name), Port: new(port.Port), Protocol: new(port.Protocol), AppProtocol: port.AppProtocol,
		})
	}
	add := func(addresses []corev1.EndpointAddress, conditions discoveryv1.EndpointConditions) {
		for _, address := range addresses {
			endpoint := discoveryv1.Endpoint{Addresses: []string{address.IP}, Conditions: conditions}
			if address.Hostname != "" {
				// The pods of a StatefulSet have names of their own below a headless Service.
				endpoint.Hostname = new(address.Hostname)
			}
			virtual.Endpoints = append(virtual.Endpoints, endpoint)
		}
	}
	add(subset.Addresses, discoveryv1.EndpointConditions{Ready: new(true)})
	add(subset.NotReadyAddresses, discoveryv1.EndpointConditions{Ready: new(false)})
}

// addressTypeOf returns the type of the addresses of an original. Without addresses it is that of the copy, which cannot
// change, or the first one of the Service.
func addressTypeOf(host *corev1.Endpoints, service *corev1.Service, virtual *discoveryv1.EndpointSlice) discoveryv1.AddressType { //nolint:staticcheck // See [HostEndpoints].
	var addresses []corev1.EndpointAddress
	for _, subset := range host.Subsets {
		addresses = slices.Concat(addresses, subset.Addresses, subset.NotReadyAddresses)
	}
	switch {
	case len(addresses) > 0 && translate.IsIPv6(addresses[0].IP):
		return discoveryv1.AddressTypeIPv6
	case len(addresses) > 0:
		return discoveryv1.AddressTypeIPv4
	case virtual.AddressType != "":
		return virtual.AddressType
	case len(service.Spec.IPFamilies) > 0 && service.Spec.IPFamilies[0] == corev1.IPv6Protocol:
		return discoveryv1.AddressTypeIPv6
	default:
		return discoveryv1.AddressTypeIPv4
	}
}

// HostEndpointPolicies creates a host NetworkPolicy for each slice of [HostEndpoints]. It lets the
// tenant's pods reach these endpoints, which the release's own NetworkPolicies close.
func HostEndpointPolicies(o Options) syncer.Resource[*discoveryv1.EndpointSlice, *networkingv1.NetworkPolicy] {
	return syncer.Resource[*discoveryv1.EndpointSlice, *networkingv1.NetworkPolicy]{
		Owner: syncer.Virtual,
		Names: translate.Derived(translate.HostEndpointsRole),
		Want: func(_ syncer.Scope, virtual *discoveryv1.EndpointSlice, _ *networkingv1.NetworkPolicy) (bool, error) {
			key := client.ObjectKeyFromObject(virtual).String()
			return virtual.Annotations[labels.HostUID] != "" && virtual.DeletionTimestamp == nil &&
				slices.ContainsFunc(o.Replicate.FromHost, func(e v1alpha1.ServiceFromHost) bool { return e.To == key }), nil
		},
		Down: func(s syncer.Scope, virtual *discoveryv1.EndpointSlice, host *networkingv1.NetworkPolicy) error {
			host.Spec = translate.HostEndpointsPolicy(s.Cluster, virtual)
			return nil
		},
	}
}

// fromServices returns the common part of the kinds that copy Services of the host.
func fromServices[T client.Object](entries []v1alpha1.ServiceFromHost, empty func() T) syncer.Resource[T, T] {
	origin := func(_ syncer.Scope, host T) (types.NamespacedName, bool) {
		i := slices.IndexFunc(entries, func(e v1alpha1.ServiceFromHost) bool { return e.From == client.ObjectKeyFromObject(host).String() })
		if i < 0 {
			return types.NamespacedName{}, false
		}
		return parseServiceKey(entries[i].To), true
	}
	r := syncer.Resource[T, T]{
		Owner:  syncer.Host,
		Names:  translate.Same, // Not used, because there is a FindOriginal.
		Origin: origin,
		Want:   isOfOriginal[T],
		FindOriginal: func(s syncer.Scope, virtual types.NamespacedName) (T, bool, error) {
			i := slices.IndexFunc(entries, func(e v1alpha1.ServiceFromHost) bool { return e.To == virtual.String() })
			if i < 0 {
				return *new(T), false, nil
			}
			host := empty()
			err := s.Host.Get(s.Context, parseServiceKey(entries[i].From), host)
			if apierrors.IsNotFound(err) {
				return host, false, nil
			}
			if err != nil {
				return host, false, fmt.Errorf("cannot get %s of the host: %w", entries[i].From, err)
			}
			return host, true, nil
		},
	}
	if len(entries) > 0 { // Without an entry, the default watch of our own copies is enough.
		r.Select = apilabels.Everything()
	}
	for _, e := range entries {
		key := parseServiceKey(e.From)
		r.Places = append(r.Places, syncer.Place{Namespace: key.Namespace, Name: key.Name})
	}
	return r
}

// copyOfHostService returns the copy of the Service of an Endpoints object. ok is false if there
// is none.
func copyOfHostService(s syncer.Scope, entries []v1alpha1.ServiceFromHost, host client.Object) (copied *corev1.Service, ok bool, err error) {
	i := slices.IndexFunc(entries, func(e v1alpha1.ServiceFromHost) bool { return e.From == client.ObjectKeyFromObject(host).String() })
	if i < 0 {
		return nil, false, nil
	}
	copied = &corev1.Service{}
	err = s.Virtual.Get(s.Context, parseServiceKey(entries[i].To), copied)
	if apierrors.IsNotFound(err) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("cannot get Service %s: %w", entries[i].To, err)
	}
	return copied, copied.Annotations[labels.HostUID] != "", nil
}

// ownKey returns the key of an object.
func ownKey(_ syncer.Scope, object client.Object) ([]types.NamespacedName, error) {
	return []types.NamespacedName{client.ObjectKeyFromObject(object)}, nil
}
