package v1alpha1

import "slices"

// Policies has the limits of what a tenant may do. The virtual API server enforces
// them at admission. No object of the tenant can weaken one.
type Policies struct {
	// Pod Security Standard that every pod of the tenant must meet. Labels of virtual namespaces can
	// make it stricter, never weaker.
	// Default: baseline
	PodSecurityStandard string `json:"podSecurityStandard" enum:"privileged,baseline,restricted"`
	// Limits of pods beyond the standard.
	Pods PodPolicy `json:"pods"`
	// Limits of images.
	Images ImagePolicy `json:"images"`
	// Limits of what the tenant takes of the host in all, as ResourceQuotas in the namespace of the
	// release.
	ResourceQuota ResourceQuota `json:"resourceQuota"`
	// Requests and limits of containers on the host, as a LimitRange in the namespace of the release.
	LimitRange LimitRange `json:"limitRange"`
	// Copies of the tenant's objects on the host, by resource.
	Objects Objects `json:"objects"`
	// Requests to the host's kubelets.
	Streams Streams `json:"streams"`
	// Writes to the virtual store.
	Writes Writes `json:"writes"`
	// Deny all creates, updates, sessions and proxies of the tenant, and creates of controllers that act for
	// them. Reads, deletes and evictions pass, and what runs keeps running.
	// Default: false
	ReadOnly bool `json:"readOnly"`
	// NetworkPolicies that isolate the virtual cluster on the host.
	NetworkPolicy NetworkPolicy `json:"networkPolicy"`
	// Limits of what the control plane does on behalf of the tenant.
	ControlPlane ControlPlanePolicy `json:"controlPlane"`
	// Services of the tenant.
	Services ServicePolicy `json:"services"`
	// Limits of the control plane's own account on the host, for the day that a tenant has taken it
	// over.
	Fence Fence `json:"fence"`
	// Endpoints that the tenant writes by hand.
	Endpoints EndpointPolicy `json:"endpoints"`
	// Volumes of the tenant's claims.
	Volumes VolumePolicy `json:"volumes"`
	// Ingresses of the tenant.
	Ingresses IngressPolicy `json:"ingresses"`
	// Devices of the host.
	Devices DevicePolicy `json:"devices"`
}

// defaultPolicies returns the policies of a tenant that nobody trusts.
func defaultPolicies() Policies {
	return Policies{
		PodSecurityStandard: "baseline",
		Pods:                defaultPodPolicy(),
		Images:              ImagePolicy{Allowed: []string{}},
		ResourceQuota:       defaultResourceQuota(),
		LimitRange:          defaultLimitRange(),
		Objects:             defaultObjects(),
		Services:            defaultServicePolicy(),
		Ingresses:           defaultIngressPolicy(),
		Devices:             defaultDevicePolicy(),
		Endpoints:           defaultEndpointPolicy(),
		Volumes:             defaultVolumePolicy(),
		Streams:             defaultStreams(),
		Writes:              defaultWrites(),
		NetworkPolicy:       defaultNetworkPolicy(),
		ControlPlane:        defaultControlPlanePolicy(),
		Fence:               defaultFence(),
	}
}

// policyCombinations returns the rules about several keys of the policies.
func policyCombinations() []Combination {
	return slices.Concat(quotaCombinations(), limitRangeCombinations(), networkCombinations(), podPolicyCombinations(), annotationCombinations())
}

// annotationCombinations returns the rules of the values of annotations. The server refuses each expression by its format.
// Helm has these rules in place of that.
func annotationCombinations() []Combination {
	const detail = "a value is no regular expression of Go; correct it, or leave it empty for any value"
	areBad := func(expressions map[string]string) bool {
		for _, expression := range expressions {
			if !isRegexp(expression) {
				return true
			}
		}
		return false
	}
	return []Combination{
		{
			Name: "service-annotation-expressions", Path: "policies.services.annotations", Detail: detail,
			Violated: func(c *Config) bool { return areBad(c.Policies.Services.Annotations) },
		},
		{
			Name: "ingress-annotation-expressions", Path: "policies.ingresses.annotations", Detail: detail,
			Violated: func(c *Config) bool { return areBad(c.Policies.Ingresses.Annotations) },
		},
	}
}
