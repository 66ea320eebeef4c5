package policy

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// servicesSetting is the path of the settings of Services.
const servicesSetting = "policies.services."

// Services decides which fields of Services a tenant may set.
type Services struct {
	settings                 v1alpha1.ServicePolicy
	externalIPs, balancerIPs Ranges
	sourceRanges             Ranges
	annotations              annotationRules
	allowsAllFrom            bool
}

// NewServices returns the rule for these settings, which must be valid.
func NewServices(settings v1alpha1.ServicePolicy) *Services {
	s := &Services{
		settings:     settings,
		externalIPs:  NewRanges(settings.ExternalIPs),
		balancerIPs:  NewRanges(settings.LoadBalancerIPs),
		sourceRanges: NewRanges(settings.LoadBalancerSourceRanges),
		annotations:  newAnnotationRules(settings.Annotations, servicesSetting+"annotations"),
	}
	s.allowsAllFrom = s.sourceRanges.Contains(netip.MustParsePrefix("0.0.0.0/0")) &&
		s.sourceRanges.Contains(netip.MustParsePrefix("::/0"))
	return s
}

// Check returns the fields of a Service that are not allowed. old is the stored state, nil
// for a new Service: what is stored already stays allowed.
func (s *Services) Check(old, service *corev1.Service) []Violation {
	if old == nil {
		old = &corev1.Service{}
	}
	return slices.Concat(
		s.checkType(old, service),
		s.checkAddresses(old, service),
		s.checkPorts(old, service),
		s.checkBalancer(old, service),
		s.annotations.check(old.Annotations, service.Annotations),
	)
}

func (s *Services) checkType(old, service *corev1.Service) []Violation {
	if kind := service.Spec.Type; kind != old.Spec.Type && !slices.Contains(s.settings.Types, kind) {
		return []Violation{{
			Field: "spec.type", Value: string(kind), Setting: servicesSetting + "types",
			Detail: "Services of this type are not allowed, only " + list(s.settings.Types),
		}}
	}
	return nil
}

// checkAddresses checks the addresses that a Service chooses.
func (s *Services) checkAddresses(old, service *corev1.Service) []Violation {
	var violations []Violation
	for i, ip := range service.Spec.ExternalIPs {
		if !slices.Contains(old.Spec.ExternalIPs, ip) && !s.externalIPs.ContainsAddress(ip) {
			violations = append(violations, Violation{
				Field: at("spec.externalIPs", i), Value: ip, Setting: servicesSetting + "externalIPs",
				Detail: "a Service would draw the traffic of all nodes to this address; allowed is " + s.externalIPs.String(),
			})
		}
	}
	if s.settings.ExplicitClusterIPs {
		return violations
	}
	for i, ip := range chosenIPs(service) {
		if !slices.Contains(old.Spec.ClusterIPs, ip) {
			violations = append(violations, Violation{
				Field: at("spec.clusterIPs", i), Value: ip, Setting: servicesSetting + "explicitClusterIPs",
				Detail: "the host picks the address; leave it out",
			})
		}
	}
	return violations
}

// chosenIPs returns the cluster addresses that a Service names.
func chosenIPs(service *corev1.Service) []string {
	if service.Spec.ClusterIP == corev1.ClusterIPNone {
		return nil
	}
	ips := service.Spec.ClusterIPs
	if len(ips) == 0 && service.Spec.ClusterIP != "" {
		ips = []string{service.Spec.ClusterIP}
	}
	return ips
}

// checkPorts checks the ports of nodes that a Service chooses.
func (s *Services) checkPorts(old, service *corev1.Service) []Violation {
	if s.settings.ExplicitNodePorts {
		return nil
	}
	var violations []Violation
	denied := func(field string, port int32) {
		violations = append(violations, Violation{
			Field: field, Value: strconv.Itoa(int(port)), Setting: servicesSetting + "explicitNodePorts",
			Detail: "the host picks ports of its nodes; leave it out",
		})
	}
	stored := map[int32]bool{0: true}
	for _, port := range old.Spec.Ports {
		stored[port.NodePort] = true
	}
	for i, port := range service.Spec.Ports {
		if !stored[port.NodePort] {
			denied(at("spec.ports", i)+".nodePort", port.NodePort)
		}
	}
	if port := service.Spec.HealthCheckNodePort; port != 0 && port != old.Spec.HealthCheckNodePort {
		denied("spec.healthCheckNodePort", port)
	}
	return violations
}

// checkBalancer checks what a Service asks of the host's load balancers.
func (s *Services) checkBalancer(old, service *corev1.Service) []Violation {
	var violations []Violation
	if ip := service.Spec.LoadBalancerIP; ip != "" && ip != old.Spec.LoadBalancerIP && !s.balancerIPs.ContainsAddress(ip) {
		violations = append(violations, Violation{
			Field: "spec.loadBalancerIP", Value: ip, Setting: servicesSetting + "loadBalancerIPs",
			Detail: "allowed is " + s.balancerIPs.String(),
		})
	}
	allowed := slices.Concat(s.settings.LoadBalancerClasses, s.settings.TenantLoadBalancerClasses)
	if class := service.Spec.LoadBalancerClass; class != nil && !ptr.Equal(class, old.Spec.LoadBalancerClass) &&
		!slices.Contains(s.settings.LoadBalancerClasses, *class) && !matchesAny(s.settings.TenantLoadBalancerClasses, *class) {
		violations = append(violations, Violation{
			Field: "spec.loadBalancerClass", Value: *class, Setting: servicesSetting + "loadBalancerClasses",
			Detail: "this class of load balancers is not allowed, " + only(allowed),
		})
	}
	return append(violations, s.checkSources(old, service)...)
}

// checkSources checks from where the load balancer of a Service takes traffic.
func (s *Services) checkSources(old, service *corev1.Service) []Violation {
	const setting = servicesSetting + "loadBalancerSourceRanges"
	if s.allowsAllFrom || service.Spec.Type != corev1.ServiceTypeLoadBalancer {
		return nil
	}
	ranges := service.Spec.LoadBalancerSourceRanges
	if len(ranges) == 0 && (old.Spec.Type != service.Spec.Type || len(old.Spec.LoadBalancerSourceRanges) > 0) {
		return []Violation{{
			Field: "spec.loadBalancerSourceRanges", Setting: setting,
			Detail: "must be set, to ranges inside " + s.sourceRanges.String(),
		}}
	}
	var violations []Violation
	for i, text := range ranges {
		prefix, err := netip.ParsePrefix(strings.TrimSpace(text))
		if !slices.Contains(old.Spec.LoadBalancerSourceRanges, text) && (err != nil || !s.sourceRanges.Contains(prefix)) {
			violations = append(violations, Violation{
				Field: at("spec.loadBalancerSourceRanges", i), Value: text, Setting: setting,
				Detail: "must be inside " + s.sourceRanges.String(),
			})
		}
	}
	return violations
}

// PassesAnnotation reports whether an annotation of a Service is copied to the host.
// Kubernetes itself uses the annotations about topology.
func (s *Services) PassesAnnotation(key, value string) bool {
	if key == corev1.AnnotationTopologyMode || key == corev1.DeprecatedAnnotationTopologyAwareHints {
		return true
	}
	return s.annotations.pass(key, value)
}

// AllowsExternalIP reports whether a Service may draw the traffic of an address.
func (s *Services) AllowsExternalIP(ip string) bool { return s.externalIPs.ContainsAddress(ip) }

// IsTenantsBalancer reports whether a controller of the tenant serves a load balancer. Its
// status is the tenant's then, and not the host's.
func (s *Services) IsTenantsBalancer(service *corev1.Service) bool {
	class := service.Spec.LoadBalancerClass
	return service.Spec.Type == corev1.ServiceTypeLoadBalancer && class != nil &&
		matchesAny(s.settings.TenantLoadBalancerClasses, *class) && !slices.Contains(s.settings.LoadBalancerClasses, *class)
}

// Warnings returns a text for each new annotation that components of a host read and that
// stays behind. A new class of load balancers, which may be the tenant's own, gets one too.
func (s *Services) Warnings(old, service *corev1.Service) []string {
	var warnings []string
	if text := s.warnOfClass(old, service); text != "" {
		warnings = append(warnings, text)
	}
	if s.hasDeadHealthCheck(service) && (old == nil || !s.hasDeadHealthCheck(old)) {
		warnings = append(warnings, "spec.healthCheckNodePort: nothing answers on this port, because no load balancer of the host serves the class. "+
			"Let the load balancer check a node port of the Service, or set externalTrafficPolicy to Cluster.")
	}
	for _, key := range slices.Sorted(maps.Keys(service.Annotations)) {
		value := service.Annotations[key]
		if old != nil && old.Annotations[key] == value || !isForHost(key) || s.PassesAnnotation(key, value) {
			continue
		}
		warnings = append(warnings, fmt.Sprintf("annotation %s has no effect: it is not copied to the host, where load balancers "+
			"would read it. The operator of the host can change this with %sannotations.", key, servicesSetting))
	}
	return warnings
}

// hasDeadHealthCheck reports whether a Service has a port for health checks that the host does not serve.
func (s *Services) hasDeadHealthCheck(service *corev1.Service) bool {
	return s.IsTenantsBalancer(service) && translate.HasHealthCheckPort(&service.Spec)
}

// warnOfClass returns a text for a new class of load balancers that no setting names: nobody
// knows whether a controller of the tenant serves it.
func (s *Services) warnOfClass(old, service *corev1.Service) string {
	if !s.IsTenantsBalancer(service) || slices.Contains(s.settings.TenantLoadBalancerClasses, *service.Spec.LoadBalancerClass) ||
		old != nil && ptr.Equal(old.Spec.LoadBalancerClass, service.Spec.LoadBalancerClass) {
		return ""
	}
	return fmt.Sprintf("spec.loadBalancerClass: no load balancer of the host serves the class %s, so it has an effect only if a controller for it "+
		"runs in this virtual cluster. The operator of the host can change this with %sloadBalancerClasses.", *service.Spec.LoadBalancerClass, servicesSetting)
}

// isForHost reports whether an annotation is one of those that controllers of a host read
// on Services.
func isForHost(key string) bool {
	domain, name, _ := strings.Cut(key, "/")
	for _, known := range []string{
		"service.beta.kubernetes.io", "service.alpha.kubernetes.io", "service.kubernetes.io", "alb.ingress.kubernetes.io",
		"cloud.google.com", "networking.gke.io", "external-dns.alpha.kubernetes.io", "external-dns.kubernetes.io",
		"metallb.io", "metallb.universe.tf", "kube-vip.io", "lbipam.cilium.io", "io.cilium", "tailscale.com",
		"load-balancer.hetzner.cloud", "loadbalancer.openstack.org", "kubernetes.digitalocean.com",
		"projectcontour.io", "traefik.ingress.kubernetes.io", "service.cilium.io", "networking.istio.io",
	} {
		if domain == known || strings.HasSuffix(domain, "."+known) {
			return true
		}
	}
	return strings.Contains(strings.ToLower(domain+name), "loadbalancer") || strings.Contains(domain+name, "load-balancer")
}
