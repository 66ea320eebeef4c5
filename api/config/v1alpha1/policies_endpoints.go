package v1alpha1

// EndpointPolicy limits where EndpointSlices and Endpoints of the tenant lead.
type EndpointPolicy struct {
	// Ranges of addresses in addition to those of the tenant's own pods. A Service that leads elsewhere
	// carries traffic past network policies of the host.
	// Default: []
	Allowed []string `json:"allowed" format:"cidr" unique:"true"`
}

// defaultEndpointPolicy returns the limits of endpoints.
func defaultEndpointPolicy() EndpointPolicy {
	return EndpointPolicy{Allowed: []string{}}
}
