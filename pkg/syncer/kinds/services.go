package kinds

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	validation "k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// Services copies the tenant's Services to the host, which assigns addresses and node ports. Package
// admission creates them host-first and copies what the host assigns.
//
// A Service of type ExternalName has no copy, because the virtual DNS resolves it. Proxies of the
// host, such as ingress controllers, would otherwise connect to any name that the tenant picks.
func Services(o Options) syncer.Resource[*corev1.Service, *corev1.Service] {
	return syncer.Resource[*corev1.Service, *corev1.Service]{
		Owner: syncer.Virtual,
		Names: translate.Hashed,
		Want: func(_ syncer.Scope, virtual, _ *corev1.Service) (bool, error) {
			return translate.ShouldCopyService(virtual) && virtual.Spec.Type != corev1.ServiceTypeExternalName, nil
		},
		Down: func(s syncer.Scope, virtual, host *corev1.Service) error {
			return fillHostService(o, s, virtual, host)
		},
		Up: func(s syncer.Scope, host, virtual *corev1.Service) error {
			fillVirtualService(o.Services, s, host, virtual)
			return nil
		},
	}
}

// fillHostService fills in the host Service. It keeps what the host has assigned. It only copies
// external IPs that the rules allow, because a tenant could otherwise redirect the traffic of any
// address to their own pods.
func fillHostService(o Options, s syncer.Scope, virtual, host *corev1.Service) error {
	if err := checkHeadless(virtual, host); err != nil {
		return err
	}
	rules := o.Services
	host.Labels = translate.SyncServiceLabels(host.Labels, virtual.Labels)
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
	if translate.IsHeadlessWithoutSelector(&virtual.Spec) {
		limitFamilies(o.KubernetesServiceIP, host)
	}
	if err := keepBalancerIP(assigned, virtual, host); err != nil {
		return err
	}
	if rules != nil && rules.IsTenantsBalancer(virtual) {
		translate.HideBalancer(&host.Spec)
	}
	translate.DropTrafficPolicy(&host.Spec)
	translate.CopyNodePorts(assigned.Ports, &host.Spec)
	return nil
}

// checkHeadless returns an Invalid error if the copy is headless and the Service is not. The API cannot give an
// address to a headless Service. The copy of an earlier Service of that name may still exist.
func checkHeadless(virtual, host *corev1.Service) error {
	if host.Spec.ClusterIP != corev1.ClusterIPNone || virtual.Spec.ClusterIP == corev1.ClusterIPNone {
		return nil
	}
	path := validation.NewPath("spec", "clusterIPs").Index(0)
	return apierrors.NewInvalid(schema.GroupKind{Kind: "Service"}, virtual.Name, validation.ErrorList{
		validation.Invalid(path, virtual.Spec.ClusterIP, "may not change once set; the copy of an earlier Service is headless, try again"),
	})
}

// keepHostSpec keeps the values that the host has assigned for fields that the tenant does not set.
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

// limitFamilies limits a host Service to the IP family of an address that the host has assigned. The API allows
// a family that the host lacks only to a headless Service without a selector, and the copy has a selector.
func limitFamilies(address string, host *corev1.Service) {
	family, single := corev1.IPv4Protocol, corev1.IPFamilyPolicySingleStack
	if translate.IsIPv6(address) {
		family = corev1.IPv6Protocol
	}
	host.Spec.IPFamilies, host.Spec.IPFamilyPolicy = []corev1.IPFamily{family}, &single
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

// countFamilies returns the number of IP families that a Service requests, 0 if it does not specify
// that.
func countFamilies(virtual *corev1.Service) int {
	if policy := virtual.Spec.IPFamilyPolicy; policy != nil && *policy == corev1.IPFamilyPolicySingleStack {
		return 1
	}
	return len(virtual.Spec.IPFamilies)
}

// keepAssigned returns the addresses that the host has assigned, at most wanted, if that is not 0. It
// appends a second address that the tenant requests.
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

// fillVirtualService copies what the host has assigned, and the status of the load balancer, with the
// names of the tenant in its messages. The status stays as it is if a controller of the tenant implements the
// load balancer. So do the conditions of a Service that is no load balancer.
func fillVirtualService(rules ServiceRules, s syncer.Scope, host, virtual *corev1.Service) {
	switch {
	case rules != nil && rules.IsTenantsBalancer(virtual):
	case virtual.Spec.Type != corev1.ServiceTypeLoadBalancer:
		virtual.Status.LoadBalancer = host.Status.LoadBalancer
	default:
		virtual.Status = host.Status
		names := statusNames(s, host, virtual)
		for i := range virtual.Status.Conditions {
			virtual.Status.Conditions[i].Message = names.RewriteError(virtual.Status.Conditions[i].Message)
		}
	}
	translate.CopyAssigned(host, virtual)
}
