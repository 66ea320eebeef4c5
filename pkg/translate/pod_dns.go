package translate

import (
	"net"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// The API server refuses more name servers and search domains than these.
const (
	maxNameservers = 3
	maxSearches    = 32
)

// setDNS points the pod at the DNS of the virtual cluster wherever a kubelet would point
// it at the cluster's. It merges the tenant's own dnsConfig as a kubelet would.
func setDNS(in PodInput, namespace string, spec *corev1.PodSpec) {
	cluster := spec.DNSPolicy == corev1.DNSClusterFirstWithHostNet ||
		!spec.HostNetwork && (spec.DNSPolicy == corev1.DNSClusterFirst || spec.DNSPolicy == "")
	if !cluster {
		return
	}
	config := &corev1.PodDNSConfig{
		Nameservers: []string{in.DNSServiceIP},
		Searches:    []string{namespace + ".svc." + in.ClusterDomain, "svc." + in.ClusterDomain, in.ClusterDomain},
		Options:     []corev1.PodDNSConfigOption{{Name: "ndots", Value: new("5")}},
	}
	if own := spec.DNSConfig; own != nil {
		config.Nameservers = union(config.Nameservers, own.Nameservers, maxNameservers)
		config.Searches = union(config.Searches, own.Searches, maxSearches)
		config.Options = mergeOptions(config.Options, own.Options)
	}
	spec.DNSPolicy = corev1.DNSNone
	spec.DNSConfig = config
}

// union returns the first limit different values of first and then second.
func union(first, second []string, limit int) []string {
	values := slices.Clone(first)
	for _, value := range second {
		if len(values) < limit && !slices.Contains(values, value) {
			values = append(values, value)
		}
	}
	return values
}

// mergeOptions returns base with the tenant's options, which win by name.
func mergeOptions(base, own []corev1.PodDNSConfigOption) []corev1.PodDNSConfigOption {
	merged := slices.Clone(base)
	for _, option := range own {
		same := func(o corev1.PodDNSConfigOption) bool { return o.Name == option.Name }
		if i := slices.IndexFunc(merged, same); i >= 0 {
			merged[i] = option
		} else {
			merged = append(merged, option)
		}
	}
	return merged
}

// serviceEnv returns the variables that point a container to Services. The host pod
// disables those of the host's kubelet. The kubelet still sets the ones for the host's
// API; the virtual ones take precedence.
func serviceEnv(in PodInput, virtual *corev1.Pod) []corev1.EnvVar {
	kubernetes := corev1.Service{Spec: corev1.ServiceSpec{
		ClusterIP: in.KubernetesServiceIP,
		Ports:     []corev1.ServicePort{{Name: "https", Port: 443, Protocol: corev1.ProtocolTCP}},
	}}
	kubernetes.Name = "kubernetes"
	env := linkEnv(nil, &kubernetes)
	if links := virtual.Spec.EnableServiceLinks; links != nil && !*links {
		return env
	}
	services := slices.Clone(in.Services)
	slices.SortFunc(services, func(a, b corev1.Service) int { return strings.Compare(a.Name, b.Name) })
	for i := range services {
		service := &services[i]
		if service.Namespace == virtual.Namespace && service.Name != kubernetes.Name && hasAddress(service) {
			env = linkEnv(env, service)
		}
	}
	return env
}

// hasAddress reports whether a Service has a cluster IP and a port.
func hasAddress(service *corev1.Service) bool {
	return service.Spec.ClusterIP != "" && service.Spec.ClusterIP != corev1.ClusterIPNone && len(service.Spec.Ports) > 0
}

// linkEnv appends the variables of one Service, in the two spellings that
// kubelets give: Kubernetes' own and that of Docker's links.
func linkEnv(env []corev1.EnvVar, service *corev1.Service) []corev1.EnvVar {
	add := func(name, value string) { env = append(env, corev1.EnvVar{Name: name, Value: value}) }
	name := envName(service.Name)
	first := strconv.Itoa(int(service.Spec.Ports[0].Port))
	add(name+"_SERVICE_HOST", service.Spec.ClusterIP)
	add(name+"_SERVICE_PORT", first)
	for _, port := range service.Spec.Ports {
		if port.Name != "" {
			add(name+"_SERVICE_PORT_"+envName(port.Name), strconv.Itoa(int(port.Port)))
		}
	}
	for i, port := range service.Spec.Ports {
		protocol := strings.ToLower(string(port.Protocol))
		if protocol == "" {
			protocol = "tcp"
		}
		number := strconv.Itoa(int(port.Port))
		url := protocol + "://" + net.JoinHostPort(service.Spec.ClusterIP, number)
		if i == 0 {
			add(name+"_PORT", url)
		}
		link := name + "_PORT_" + number + "_" + strings.ToUpper(protocol)
		add(link, url)
		add(link+"_PROTO", protocol)
		add(link+"_PORT", number)
		add(link+"_ADDR", service.Spec.ClusterIP)
	}
	return env
}

// envName returns the name of a Service as variables spell it.
func envName(name string) string {
	return strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}
