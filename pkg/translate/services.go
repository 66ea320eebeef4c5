package translate

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/sublet-dev/sublet/api/labels"
)

// ShouldCopyService reports whether a Service gets a host copy. It is false for kubernetes and
// kube-dns, whose host Services belong to the chart, and for copies of host Services.
func ShouldCopyService(virtual *corev1.Service) bool {
	return virtual.Labels[labels.ControlPlaneService] != "true" && virtual.Annotations[labels.HostUID] == "" &&
		(virtual.Namespace != corev1.NamespaceDefault || virtual.Name != "kubernetes")
}

// Names of the controllers that manage the slices and Endpoints of Services with a selector. On the
// host, the host's controllers do so.
const (
	endpointSliceController = "endpointslice-controller.k8s.io"
	endpointsController     = "endpoint-controller"
	// endpointsManagedBy is the label with the controller of an Endpoints object.
	endpointsManagedBy = "endpoints.kubernetes.io/managed-by"
)

// MayCopySlice reports whether an EndpointSlice may get a host copy. It must belong to a Service and
// not be managed by the controller of slices. It must not be a copy of endpoints of the host.
func MayCopySlice(virtual *discoveryv1.EndpointSlice) bool {
	service := virtual.Labels[discoveryv1.LabelServiceName]
	return service != "" && virtual.Labels[discoveryv1.LabelManagedBy] != endpointSliceController && virtual.Annotations[labels.HostUID] == "" &&
		(virtual.Namespace != corev1.NamespaceDefault || service != "kubernetes")
}

// MayMirrorEndpoints reports whether an Endpoints object may be mirrored into a slice.
func MayMirrorEndpoints(virtual *corev1.Endpoints) bool { //nolint:staticcheck // Tenants still use them.
	return virtual.Labels[endpointsManagedBy] != endpointsController &&
		(virtual.Namespace != corev1.NamespaceDefault || virtual.Name != "kubernetes")
}

// HideBalancer changes the type of the host copy of a Service whose load balancer the tenant
// implements, so that the host implements none. The type is NodePort, or ClusterIP if the
// Service has no node ports.
func HideBalancer(host *corev1.ServiceSpec) {
	allocates := allocatesNodePorts(host)
	host.Type = corev1.ServiceTypeNodePort
	if !allocates && !slices.ContainsFunc(host.Ports, func(p corev1.ServicePort) bool { return p.NodePort != 0 }) {
		host.Type = corev1.ServiceTypeClusterIP
	}
	host.LoadBalancerClass, host.LoadBalancerIP, host.LoadBalancerSourceRanges = nil, "", nil
	host.AllocateLoadBalancerNodePorts, host.HealthCheckNodePort = nil, 0
	DropTrafficPolicy(host)
}

// DropTrafficPolicy removes the external traffic policy from a Service that nothing outside of the cluster reaches.
// The API refuses it there. A host copy may lack external IPs that the original has.
func DropTrafficPolicy(host *corev1.ServiceSpec) {
	if host.Type == corev1.ServiceTypeClusterIP && len(host.ExternalIPs) == 0 {
		host.ExternalTrafficPolicy = ""
	}
}

// CopyAssigned copies the addresses and ports that the host has assigned to the virtual Service. It
// does nothing while the two have different types, because a change of the type is still being
// synced. Only a load balancer with a class may have a copy of another type permanently.
func CopyAssigned(host, virtual *corev1.Service) {
	isBalancer := virtual.Spec.Type == corev1.ServiceTypeLoadBalancer && virtual.Spec.LoadBalancerClass != nil
	if virtual.Spec.Type != host.Spec.Type && !isBalancer || virtual.Spec.Type == corev1.ServiceTypeExternalName {
		return
	}
	if virtual.Spec.ClusterIP == "" {
		virtual.Spec.ClusterIP = host.Spec.ClusterIP
	}
	if len(virtual.Spec.ClusterIPs) < len(host.Spec.ClusterIPs) {
		virtual.Spec.ClusterIPs = slices.Clone(host.Spec.ClusterIPs)
	}
	copyFamilies(host, virtual)
	CopyNodePorts(host.Spec.Ports, &virtual.Spec)
	if HasHealthCheckPort(&virtual.Spec) && virtual.Spec.HealthCheckNodePort == 0 {
		virtual.Spec.HealthCheckNodePort = host.Spec.HealthCheckNodePort
	}
}

// copyFamilies copies the IP families to a virtual Service that has none. It copies none to a headless Service
// without a selector, whose host copy has a selector and so other defaults.
func copyFamilies(host, virtual *corev1.Service) {
	if IsHeadlessWithoutSelector(&virtual.Spec) && len(host.Spec.Selector) > 0 {
		return
	}
	if len(virtual.Spec.IPFamilies) < len(host.Spec.IPFamilies) {
		virtual.Spec.IPFamilies = slices.Clone(host.Spec.IPFamilies)
	}
	if virtual.Spec.IPFamilyPolicy == nil {
		virtual.Spec.IPFamilyPolicy = host.Spec.IPFamilyPolicy
	}
}

// IsHeadlessWithoutSelector reports whether a Service is headless and has no selector. The API gives such a
// Service two IP families, also in a cluster with one.
func IsHeadlessWithoutSelector(spec *corev1.ServiceSpec) bool {
	return spec.ClusterIP == corev1.ClusterIPNone && len(spec.Selector) == 0
}

// CopyNodePorts copies node ports from the entries of from to the same ports of a Service that have none. Like an
// API server, it copies none that another port of the Service has. It copies none for a load balancer without
// allocation, where an update that leaves a node port out frees it.
func CopyNodePorts(from []corev1.ServicePort, to *corev1.ServiceSpec) {
	if !allocatesNodePorts(to) {
		return
	}
	taken := map[int32]bool{}
	for i := range to.Ports {
		taken[to.Ports[i].NodePort] = true
	}
	for i := range to.Ports {
		port := &to.Ports[i]
		found := slices.IndexFunc(from, func(f corev1.ServicePort) bool {
			return f.Port == port.Port && f.Protocol == port.Protocol
		})
		if port.NodePort == 0 && found >= 0 && !taken[from[found].NodePort] {
			port.NodePort = from[found].NodePort
		}
	}
}

// allocatesNodePorts reports whether a Service gets node ports that it does not name.
func allocatesNodePorts(spec *corev1.ServiceSpec) bool {
	allocates := spec.AllocateLoadBalancerNodePorts
	return spec.Type == corev1.ServiceTypeNodePort || spec.Type == corev1.ServiceTypeLoadBalancer && (allocates == nil || *allocates)
}

// HasNodePorts reports whether Services of a type have node ports.
func HasNodePorts(serviceType corev1.ServiceType) bool {
	return serviceType == corev1.ServiceTypeNodePort || serviceType == corev1.ServiceTypeLoadBalancer
}

// HasHealthCheckPort reports whether a Service has a node port for health checks.
func HasHealthCheckPort(spec *corev1.ServiceSpec) bool {
	return spec.Type == corev1.ServiceTypeLoadBalancer &&
		spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
}

// serviceProxyName is the label of Services that a proxy with that name serves.
const serviceProxyName = "service.kubernetes.io/service-proxy-name"

// SyncServiceLabels returns the labels of the host copy of a Service or of its slices, as
// [SyncLabels] does. The labels by which kube-proxy skips an object also keep their own keys. They
// only affect the object itself.
func SyncServiceLabels(host, virtual map[string]string) map[string]string {
	synced := SyncLabels(host, virtual)
	for _, key := range []string{serviceProxyName, corev1.IsHeadlessService} {
		value, ok := virtual[key]
		_, copied := host[TenantLabel(key)]
		switch {
		case ok:
			synced[key] = value
		case copied:
			delete(synced, key)
		}
	}
	return synced
}
