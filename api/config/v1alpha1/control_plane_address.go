package v1alpha1

// Ingress has the settings of an Ingress in front of the virtual API.
type Ingress struct {
	// Create the Ingress RELEASE. Its controller must pass TLS through, as clients log in with certificates. Exported
	// kubeconfigs lead to https://HOST, unless exportKubeConfig.server is set.
	// Default: false
	Enabled bool `json:"enabled"`
	// Name under which clients reach the virtual API. The serving certificate has it.
	// Default: ""
	Host string `json:"host" format:"dns-domain,optional"`
	// How the controller compares the path /.
	// Default: ImplementationSpecific
	PathType string `json:"pathType" enum:"ImplementationSpecific,Prefix,Exact"`
	// Further labels of the Ingress.
	// Default: {}
	Labels map[string]string `json:"labels" keys:"label-key" values:"label-value,optional"`
	// Annotations of the Ingress. Each controller has its own one to pass TLS through.
	// Default: {nginx.ingress.kubernetes.io/backend-protocol: HTTPS, nginx.ingress.kubernetes.io/ssl-passthrough: "true", nginx.ingress.kubernetes.io/ssl-redirect: "true"}
	Annotations map[string]string `json:"annotations" keys:"label-key"`
	// Spec of the Ingress.
	Spec IngressSpec `json:"spec"`
}

// IngressSpec has the spec of the Ingress.
type IngressSpec struct {
	// IngressClass of the host. Empty means the default of the host.
	// Default: ""
	IngressClassName string `json:"ingressClassName" format:"object-name,optional"`
	// TLS of the Ingress, as in its spec. Controllers that pass TLS through need none.
	// Default: []
	TLS []IngressTLS `json:"tls"`
}

// IngressTLS is TLS for hosts of an Ingress.
type IngressTLS struct {
	Hosts      []string `json:"hosts,omitempty" format:"host-pattern"`
	SecretName string   `json:"secretName,omitempty" format:"object-name,optional"`
}

// TLSRoute has the settings of a route of a Gateway to the virtual API.
type TLSRoute struct {
	// Create the TLSRoute RELEASE (gateway.networking.k8s.io/v1, or v1alpha2 on hosts without it). The listener of the Gateway must pass
	// TLS through. Exported kubeconfigs lead to https://HOST, unless exportKubeConfig.server is set.
	// Default: false
	Enabled bool `json:"enabled"`
	// Name under which clients reach the virtual API. The serving certificate has it.
	// Default: ""
	Host string `json:"host" format:"dns-domain,optional"`
	// Gateways of the route, as in its spec: a list of {name: GATEWAY, namespace: NAMESPACE, sectionName:
	// LISTENER, port: PORT}.
	// Default: []
	ParentRefs []ParentRef `json:"parentRefs"`
	// Further labels of the TLSRoute.
	// Default: {}
	Labels map[string]string `json:"labels" keys:"label-key" values:"label-value,optional"`
	// Annotations of the TLSRoute.
	// Default: {}
	Annotations map[string]string `json:"annotations" keys:"label-key"`
}

// ParentRef names a listener of a Gateway.
type ParentRef struct {
	Name        string `json:"name" format:"object-name"`
	Namespace   string `json:"namespace,omitempty" format:"object-name,optional"`
	SectionName string `json:"sectionName,omitempty" format:"object-name,optional"`
	Port        int32  `json:"port,omitempty" min:"1" max:"65535"`
}

// defaultIngress returns an Ingress for the controller of ingress-nginx, as vCluster has it.
func defaultIngress() Ingress {
	const prefix = "nginx.ingress.kubernetes.io/"
	return Ingress{
		PathType: "ImplementationSpecific", Labels: map[string]string{},
		Annotations: map[string]string{prefix + "backend-protocol": "HTTPS", prefix + "ssl-passthrough": "true", prefix + "ssl-redirect": "true"},
		Spec:        IngressSpec{TLS: []IngressTLS{}},
	}
}

// defaultTLSRoute returns no route.
func defaultTLSRoute() TLSRoute {
	return TLSRoute{ParentRefs: []ParentRef{}, Labels: map[string]string{}, Annotations: map[string]string{}}
}

// ExportedServer returns the URL in exported kubeconfigs that the settings determine. Empty means the
// Service in the host cluster, or what FollowsAddress reports.
func (c *Config) ExportedServer() string {
	switch {
	case c.ExportKubeConfig.Server != "":
		return c.ExportKubeConfig.Server
	case c.ControlPlane.Ingress.Enabled:
		return "https://" + c.ControlPlane.Ingress.Host
	case c.ControlPlane.TLSRoute.Enabled:
		return "https://" + c.ControlPlane.TLSRoute.Host
	}
	return ""
}

// FollowsAddress reports whether exported kubeconfigs lead to the address that the host gives the Service.
func (c *Config) FollowsAddress() bool {
	return c.ExportedServer() == "" && c.ControlPlane.Service.Spec.Type != "ClusterIP"
}

// addressCombinations returns the rules of the ways to the virtual API.
func addressCombinations() []Combination {
	return []Combination{{
		Name: "ingress-without-host", Path: "controlPlane.ingress.host", With: []string{"controlPlane.ingress.enabled"},
		Detail: "controlPlane.ingress.enabled is true, but there is no name under which clients reach it; set one such as shop.example.com, or set that to false",
		Violated: func(c *Config) bool {
			return c.ControlPlane.Ingress.Enabled && c.ControlPlane.Ingress.Host == ""
		},
	}, {
		Name: "route-without-host", Path: "controlPlane.tlsRoute.host", With: []string{"controlPlane.tlsRoute.enabled"},
		Detail: "controlPlane.tlsRoute.enabled is true, but there is no name under which clients reach it; set one such as shop.example.com, or set that to false",
		Violated: func(c *Config) bool {
			return c.ControlPlane.TLSRoute.Enabled && c.ControlPlane.TLSRoute.Host == ""
		},
	}, {
		Name: "route-without-gateway", Path: "controlPlane.tlsRoute.parentRefs", With: []string{"controlPlane.tlsRoute.enabled"},
		Detail: "controlPlane.tlsRoute.enabled is true, but no Gateway has the route; name one as {name: GATEWAY}, or set that to false",
		Violated: func(c *Config) bool {
			return c.ControlPlane.TLSRoute.Enabled && len(c.ControlPlane.TLSRoute.ParentRefs) == 0
		},
	}, {
		Name: "node-port-of-no-node", Path: "controlPlane.service.httpsNodePort", With: []string{"controlPlane.service.spec.type"},
		Detail: "controlPlane.service.spec.type is ClusterIP, so there is no node port; set that to NodePort or LoadBalancer, or this to 0",
		Violated: func(c *Config) bool {
			return c.ControlPlane.Service.HTTPSNodePort > 0 && c.ControlPlane.Service.Spec.Type == "ClusterIP"
		},
	}}
}
