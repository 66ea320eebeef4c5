package v1alpha1

// ControlPlanePolicy has the limits of what the control plane does on behalf of a tenant.
type ControlPlanePolicy struct {
	// Connections that the API server opens on behalf of the tenant: to webhooks, converters, aggregated
	// APIs, and through the proxies of pods and Services.
	Egress ControlPlaneEgress `json:"egress"`
}

// ControlPlaneEgress has the destinations that a tenant may let the API server connect to.
type ControlPlaneEgress struct {
	// IP ranges that the API server may connect to in addition to running pods of the tenant. Nodes and
	// the host's Services are not excepted: a range of Services is open if an entry is within it.
	// Loopback and link-local addresses stay closed. The NetworkPolicy of the control plane opens them too.
	// Default: []
	AllowedCIDRs []string `json:"allowedCIDRs" format:"cidr" unique:"true"`
	// DNS names that the API server may connect to, for webhooks with a URL. Only public addresses behind
	// them are open, private ones need an entry in allowedCIDRs. Ports other than 443, 6443, 8443 and 16443
	// need a rule in policies.networkPolicy.controlPlane.egress too.
	// Default: []
	AllowedHosts []string `json:"allowedHosts" format:"dns-domain" unique:"true"`
}

// defaultControlPlanePolicy returns the limits that open nothing but the tenant's pods.
func defaultControlPlanePolicy() ControlPlanePolicy {
	return ControlPlanePolicy{Egress: ControlPlaneEgress{AllowedCIDRs: []string{}, AllowedHosts: []string{}}}
}
