package admission

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apiserver/pkg/admission"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/policy"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// addEndpointChecks adds the checks of EndpointSlices and Endpoints that a tenant writes. If slices are not
// synced, they have no effect on the host and need no check.
func addEndpointChecks(checks Checks, settings *v1alpha1.Config, host HostView) {
	if !settings.Sync.IsEnabled("sync.toHost.endpointSlices") {
		return
	}
	c := endpointCheck{allowed: policy.NewRanges(settings.Policies.Endpoints.Allowed), host: host}
	checks.Add(discoveryv1.Resource("endpointslices"), c.checkSlice)
	checks.Add(corev1.Resource("endpoints"), c.checkEndpoints)
}

// endpointCheck evaluates the addresses of endpoints that a tenant writes.
type endpointCheck struct {
	allowed policy.Ranges
	host    HostView
}

// address is an address of an object, with its field.
type address struct{ field, value string }

// checkSlice evaluates a slice that may get a host copy.
func (c endpointCheck) checkSlice(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) (Decision, error) {
	slice, old, err := writtenObject[discoveryv1.EndpointSlice](a, o)
	if err != nil || slice == nil || !translate.MayCopySlice(slice) {
		return Decision{}, err
	}
	if slice.AddressType == discoveryv1.AddressTypeFQDN {
		return Decision{Violations: []policy.Violation{{
			Field: "addressType", Value: string(slice.AddressType),
			Detail: "names are not supported, as no Service leads to them; use IPv4 or IPv6",
		}}}, nil
	}
	stored := map[string]bool{}
	if old != nil && translate.MayCopySlice(old) {
		for _, known := range addressesOfSlice(old) {
			stored[known.value] = true
		}
	}
	return c.check(ctx, a, stored, addressesOfSlice(slice))
}

// checkEndpoints evaluates an Endpoints object that may be mirrored into a slice.
func (c endpointCheck) checkEndpoints(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) (Decision, error) {
	endpoints, old, err := writtenObject[corev1.Endpoints](a, o) //nolint:staticcheck // Tenants still use them.
	if err != nil || endpoints == nil || !translate.MayMirrorEndpoints(endpoints) {
		return Decision{}, err
	}
	stored := map[string]bool{}
	if old != nil && translate.MayMirrorEndpoints(old) {
		for _, known := range addressesOfEndpoints(old) {
			stored[known.value] = true
		}
	}
	return c.check(ctx, a, stored, addressesOfEndpoints(endpoints))
}

// check evaluates new addresses. Stored addresses are allowed: for example, a leader election may keep the
// address of a former leader, which the syncer does not copy.
func (c endpointCheck) check(ctx context.Context, a admission.Attributes, stored map[string]bool, addresses []address) (Decision, error) {
	var violations []policy.Violation
	for _, found := range addresses {
		if stored[found.value] || c.allowed.ContainsAddress(found.value) {
			continue
		}
		own, err := c.host.OwnsAddress(ctx, found.value)
		if err != nil {
			return Decision{}, unknownHost(a, err)
		}
		if !own {
			violations = append(violations, policy.Violation{
				Field: found.field, Value: found.value, Setting: "policies.endpoints.allowed",
				Detail: "is not the address of a running pod of this virtual cluster; other addresses that are allowed: " + c.allowed.String(),
			})
		}
	}
	return Decision{Violations: violations}, nil
}

func addressesOfSlice(slice *discoveryv1.EndpointSlice) []address {
	var addresses []address
	for i, endpoint := range slice.Endpoints {
		for j, value := range endpoint.Addresses {
			addresses = append(addresses, address{fmt.Sprintf("endpoints[%d].addresses[%d]", i, j), value})
		}
	}
	return addresses
}

func addressesOfEndpoints(endpoints *corev1.Endpoints) []address { //nolint:staticcheck // Tenants still use them.
	var addresses []address
	for i, subset := range endpoints.Subsets {
		for j, found := range subset.Addresses {
			addresses = append(addresses, address{fmt.Sprintf("subsets[%d].addresses[%d].ip", i, j), found.IP})
		}
		for j, found := range subset.NotReadyAddresses {
			addresses = append(addresses, address{fmt.Sprintf("subsets[%d].notReadyAddresses[%d].ip", i, j), found.IP})
		}
	}
	return addresses
}
