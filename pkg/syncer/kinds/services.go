package kinds

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// Services copies the tenant's Services to the host, which assigns addresses and node
// ports. Package admission copies them into the virtual Service when it is created.
//
// A Service that is an external name has no copy: the virtual DNS answers it. Proxies of the
// host, such as controllers of Ingresses, would connect to whatever name the tenant picks.
func Services(o Options) syncer.Resource[*corev1.Service, *corev1.Service] {
	return syncer.Resource[*corev1.Service, *corev1.Service]{
		Owner: syncer.Virtual,
		Names: translate.Hashed,
		Want: func(_ syncer.Scope, virtual, _ *corev1.Service) (bool, error) {
			return translate.ShouldCopyService(virtual) && virtual.Spec.Type != corev1.ServiceTypeExternalName, nil
		},
		Down: func(s syncer.Scope, virtual, host *corev1.Service) error {
			return fillHostService(o.Services, s, virtual, host)
		},
		Up: func(_ syncer.Scope, host, virtual *corev1.Service) error {
			fillVirtualService(o.Services, host, virtual)
			return nil
		},
	}
}

// fillHostService fills in the host Service. Of externalIPs it passes those that the rules
// allow: with them a tenant could draw the traffic of any host address to their own pods.
// It keeps what the host has assigned.
func fillHostService(rules ServiceRules, s syncer.Scope, virtual, host *corev1.Service) error {
	host.Labels = translate.SyncLabels(host.Labels, virtual.Labels)
	if rules != nil {
		host.Annotations = translate.SyncAnnotations(host.Annotations, virtual.Annotations, rules.PassesAnnotation)
	}
	assigned := host.Spec
	host.Spec = virtual.Spec
	host.Spec.Ports = slices.Clone(virtual.Spec.Ports)
	host.Spec.Selector = translate.ServiceSelector(s.Cluster, virtual.Namespace, virtual.Spec.Selector)
	host.Spec.ExternalIPs = slices.DeleteFunc(slices.Clone(virtual.Spec.ExternalIPs), func(ip string) bool {
		return rules == nil || !rules.AllowsExternalIP(ip)
	})
	keepHostSpec(assigned, virtual, host)
	if err := keepBalancerIP(assigned, virtual, host); err != nil {
		return err
	}
	if rules != nil && rules.IsTenantsBalancer(virtual) {
		translate.HideBalancer(&host.Spec)
	}
	translate.CopyNodePorts(assigned.Ports, host.Spec.Ports, host.Spec.Type)
	return nil
}

// keepHostSpec keeps what the host has assigned and the tenant leaves to the API server.
func keepHostSpec(assigned corev1.ServiceSpec, virtual, host *corev1.Service) {
	if assigned.ClusterIP != "" && virtual.Spec.ClusterIP != corev1.ClusterIPNone {
		host.Spec.ClusterIP = assigned.ClusterIP
		host.Spec.ClusterIPs = keepAssigned(assigned.ClusterIPs, virtual.Spec.ClusterIPs, countFamilies(virtual))
	}
	if len(virtual.Spec.IPFamilies) == 0 {
		host.Spec.IPFamilies = assigned.IPFamilies
	}
	if virtual.Spec.IPFamilyPolicy == nil {
		host.Spec.IPFamilyPolicy = assigned.IPFamilyPolicy
	}
	if virtual.Spec.LoadBalancerClass == nil && virtual.Spec.Type == corev1.ServiceTypeLoadBalancer {
		host.Spec.LoadBalancerClass = assigned.LoadBalancerClass
	}
	if assigned.HealthCheckNodePort != 0 && virtual.Spec.HealthCheckNodePort == 0 && translate.HasHealthCheckPort(&virtual.Spec) {
		host.Spec.HealthCheckNodePort = assigned.HealthCheckNodePort
	}
}

// keepBalancerIP keeps the address that a controller of the host has given to a load balancer, as
// long as the tenant requests none. Some write it into the spec, and would do so again and again.
func keepBalancerIP(assigned corev1.ServiceSpec, virtual, host *corev1.Service) error {
	var tenant, filled *string
	if virtual.Spec.LoadBalancerIP != "" {
		tenant = &virtual.Spec.LoadBalancerIP
	}
	if virtual.Spec.Type == corev1.ServiceTypeLoadBalancer {
		filled = &assigned.LoadBalancerIP
	}
	ip, err := translate.KeepUnlessSet(host, "spec.loadBalancerIP", tenant, filled)
	if err == nil && ip != nil {
		host.Spec.LoadBalancerIP = *ip
	}
	return err
}

// countFamilies returns how many addresses a Service requests. It returns 0 if the Service
// leaves that to the API server.
func countFamilies(virtual *corev1.Service) int {
	if policy := virtual.Spec.IPFamilyPolicy; policy != nil && *policy == corev1.IPFamilyPolicySingleStack {
		return 1
	}
	return len(virtual.Spec.IPFamilies)
}

// keepAssigned returns the addresses of the host Service, at most as many as are wanted. A
// second address that the tenant sets is passed as a request.
func keepAssigned(assigned, virtual []string, wanted int) []string {
	kept := slices.Clone(assigned)
	if wanted > 0 && len(kept) > wanted {
		return kept[:wanted]
	}
	if len(kept) > 0 && len(virtual) > len(kept) {
		kept = append(kept, virtual[len(kept):]...)
	}
	return kept
}

// fillVirtualService copies what the host assigned, and the status of its load balancers. The
// status of a load balancer that the tenant serves has another owner.
func fillVirtualService(rules ServiceRules, host, virtual *corev1.Service) {
	if rules == nil || !rules.IsTenantsBalancer(virtual) {
		virtual.Status = host.Status
	}
	translate.CopyAssigned(host, virtual)
}
