package admission

import (
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"

	"github.com/sublet-dev/sublet/pkg/translate"
)

// dropTypeDependent drops what a Service still has of its former type, unless the request changes it. The
// API server does the same, but after admission. The API server repeats admission after a conflict. By
// then the host copy can have the new type, and the host refuses a field of the former one.
func dropTypeDependent(old, virtual *corev1.Service) {
	from, to := &old.Spec, &virtual.Spec
	if translate.HasNodePorts(from.Type) && !translate.HasNodePorts(to.Type) && !addsNodePort(from.Ports, to.Ports) {
		for i := range to.Ports {
			to.Ports[i].NodePort = 0
		}
	}
	if translate.HasHealthCheckPort(from) && !translate.HasHealthCheckPort(to) && from.HealthCheckNodePort == to.HealthCheckNodePort {
		to.HealthCheckNodePort = 0
	}
	if from.Type == corev1.ServiceTypeLoadBalancer && to.Type != corev1.ServiceTypeLoadBalancer {
		if apiequality.Semantic.DeepEqual(from.AllocateLoadBalancerNodePorts, to.AllocateLoadBalancerNodePorts) {
			to.AllocateLoadBalancerNodePorts = nil
		}
		if apiequality.Semantic.DeepEqual(from.LoadBalancerClass, to.LoadBalancerClass) {
			to.LoadBalancerClass = nil
		}
	}
	if isExternal(from) && !isExternal(to) && from.ExternalTrafficPolicy == to.ExternalTrafficPolicy {
		to.ExternalTrafficPolicy = ""
	}
}

// isExternal reports whether a Service can be reached from outside of the cluster.
func isExternal(spec *corev1.ServiceSpec) bool {
	return translate.HasNodePorts(spec.Type) || spec.Type == corev1.ServiceTypeClusterIP && len(spec.ExternalIPs) > 0
}

// addsNodePort reports whether ports have a node port that from has not.
func addsNodePort(from, ports []corev1.ServicePort) bool {
	known := map[int32]bool{0: true}
	for _, port := range from {
		known[port.NodePort] = true
	}
	for _, port := range ports {
		if !known[port.NodePort] {
			return true
		}
	}
	return false
}
