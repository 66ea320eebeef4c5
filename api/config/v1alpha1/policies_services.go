package v1alpha1

import corev1 "k8s.io/api/core/v1"

// ServicePolicy limits what a Service of the tenant may ask of the host. Fields that are not
// named here pass. A value that a Service has already stays allowed.
type ServicePolicy struct {
	// Types of Services.
	// Default: [ClusterIP, NodePort, LoadBalancer, ExternalName]
	Types []corev1.ServiceType `json:"types" enum:"ClusterIP,NodePort,LoadBalancer,ExternalName" unique:"true"`
	// Allow Services to choose their node ports and the port of the health check. These are ports of all
	// nodes. If false, the host picks them.
	// Default: false
	ExplicitNodePorts bool `json:"explicitNodePorts"`
	// Allow Services to choose their clusterIP among the free addresses of the host's range.
	// Default: true
	ExplicitClusterIPs bool `json:"explicitClusterIPs"`
	// Ranges that externalIPs may be in. A Service draws all traffic of the nodes to these addresses, so
	// name only what is the tenant's.
	// Default: []
	ExternalIPs []string `json:"externalIPs" format:"cidr" unique:"true"`
	// Ranges that loadBalancerIP may be in. The load balancers of the host decide further.
	// Default: [0.0.0.0/0, "::/0"]
	LoadBalancerIPs []string `json:"loadBalancerIPs" format:"cidr" unique:"true"`
	// Values of loadBalancerClass that load balancers of the host serve. Without one, the default of the
	// host serves a Service.
	// Default: []
	LoadBalancerClasses []string `json:"loadBalancerClasses" format:"label-key" unique:"true"`
	// Other values of loadBalancerClass, or prefixes that end with *, that a controller in the virtual
	// cluster may serve. What it writes to status.loadBalancer stays. On the host such a Service is of type
	// NodePort, so no load balancer of the host serves it.
	// Default: ['*']
	TenantLoadBalancerClasses []string `json:"tenantLoadBalancerClasses" format:"key-pattern" unique:"true"`
	// Ranges that may reach the tenant's load balancers. loadBalancerSourceRanges must be inside them, and
	// must be set unless all addresses are allowed.
	// Default: [0.0.0.0/0, "::/0"]
	LoadBalancerSourceRanges []string `json:"loadBalancerSourceRanges" format:"cidr" unique:"true"`
	// Annotations of Services that are copied to the host, where load balancers read them. A key may be a
	// prefix that ends with *. Its value is a regular expression that the whole annotation must match, empty
	// for any. All other annotations stay behind, with a warning where known.
	// Default: {}
	Annotations map[string]string `json:"annotations" keys:"key-pattern" values:"regexp,optional"`
}

// defaultServicePolicy returns the limits of Services.
func defaultServicePolicy() ServicePolicy {
	return ServicePolicy{
		Types: []corev1.ServiceType{
			corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeExternalName,
		},
		ExplicitClusterIPs:       true,
		ExternalIPs:              []string{},
		LoadBalancerIPs:          []string{"0.0.0.0/0", "::/0"},
		LoadBalancerClasses:      []string{},
		LoadBalancerSourceRanges: []string{"0.0.0.0/0", "::/0"},
		Annotations:              map[string]string{},

		TenantLoadBalancerClasses: []string{"*"},
	}
}
