package admission

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"

	"github.com/sublet-dev/sublet/pkg/translate"
)

// dropTypeDependent drops what a Service still has of its former type, unless the request changes it. The
// API server does the same, but after admission. The API server repeats admission after a conflict. By
// then the host copy can have the new type, and the host refuses a field of the former one.
func dropTypeDependent(old, virtual *corev1.Service) {
	from, to := &old.Spec, &virtual.Spec
	if translate.HasNodePorts(from.Type) && !translate.HasNodePorts(to.Type) {
		dropNodePorts(from.Ports, to.Ports)
	}
	if from.Type == corev1.ServiceTypeLoadBalancer && to.Type != corev1.ServiceTypeLoadBalancer {
		dropBalancer(from, to)
	}
	if translate.HasHealthCheckPort(from) && !translate.HasHealthCheckPort(to) && from.HealthCheckNodePort == to.HealthCheckNodePort {
		to.HealthCheckNodePort = 0
	}
	if isExternal(from) && !isExternal(to) && from.ExternalTrafficPolicy == to.ExternalTrafficPolicy {
		to.ExternalTrafficPolicy = ""
	}
}

// dropBalancer drops the fields that only load balancers have.
func dropBalancer(from, to *corev1.ServiceSpec) {
	if apiequality.Semantic.DeepEqual(from.AllocateLoadBalancerNodePorts, to.AllocateLoadBalancerNodePorts) {
		to.AllocateLoadBalancerNodePorts = nil
	}
	if apiequality.Semantic.DeepEqual(from.LoadBalancerClass, to.LoadBalancerClass) {
		to.LoadBalancerClass = nil
	}
}

// isExternal reports whether a Service can be reached from outside of the cluster.
func isExternal(spec *corev1.ServiceSpec) bool {
	return translate.HasNodePorts(spec.Type) || spec.Type == corev1.ServiceTypeClusterIP && len(spec.ExternalIPs) > 0
}

// dropNodePorts drops the node ports of ports, unless one of them is new.
func dropNodePorts(from, ports []corev1.ServicePort) {
	known := map[int32]bool{0: true}
	for _, port := range from {
		known[port.NodePort] = true
	}
	if slices.ContainsFunc(ports, func(port corev1.ServicePort) bool { return !known[port.NodePort] }) {
		return
	}
	for i := range ports {
		ports[i].NodePort = 0
	}
}
