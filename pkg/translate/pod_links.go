package translate

import (
	"net"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sublet-dev/sublet/api/labels"
)

// LinksRole is the role that names the ConfigMap with the service links of a virtual namespace,
// see [Derived]. Service links are the environment variables with the addresses of Services.
const LinksRole = "links"

// kubernetesService is the name of the Service of the API in the namespace default.
const kubernetesService = "kubernetes"

// hostSuffix is the end of the name of the variable with the address of a Service.
const hostSuffix = "_SERVICE_HOST"

// maxLinkBytes is the maximum size of all variables in the ConfigMap. An API server accepts 1 MiB
// of data, and a process 2 MiB of environment and arguments.
const maxLinkBytes = 512 << 10

// serviceLinksCut is the value of [labels.ServiceLinks].
const serviceLinksCut = "cut"

// LacksServiceLinks reports whether a host pod, or the ConfigMap of its namespace, lacks the
// variables of some Services because there are too many.
func LacksServiceLinks(host metav1.Object) bool {
	return host.GetAnnotations()[labels.ServiceLinks] == serviceLinksCut
}

// LinksKey returns the key of the host ConfigMap with the variables of the Services of a virtual
// namespace.
func LinksKey(c Cluster, namespace string) types.NamespacedName {
	return Derived(LinksRole)(c, types.NamespacedName{Name: namespace})
}

// ServiceLinks fills in the ConfigMap with the variables of the Services of one virtual
// namespace. Kubelets read it whenever a container starts. If the variables exceed
// maxLinkBytes, those of Docker's links are omitted, and then the last Services by name.
func ServiceLinks(services []corev1.Service, host *corev1.ConfigMap) {
	services = slices.DeleteFunc(slices.Clone(services), func(s corev1.Service) bool { return !isLinked(&s) })
	slices.SortFunc(services, func(a, b corev1.Service) int { return strings.Compare(a.Name, b.Name) })
	var env []corev1.EnvVar
	for i := range services {
		env = dockerEnv(addressEnv(env, &services[i]), &services[i])
	}
	delete(host.Annotations, labels.ServiceLinks)
	if sizeOf(env) > maxLinkBytes {
		SetAnnotation(host, labels.ServiceLinks, serviceLinksCut)
		env = boundedEnv(services)
	}
	host.Data = make(map[string]string, len(env))
	for i := range env {
		host.Data[env[i].Name] = env[i].Value
	}
}

// boundedEnv returns the address variables of as many Services as fit into maxLinkBytes.
func boundedEnv(services []corev1.Service) []corev1.EnvVar {
	var env []corev1.EnvVar
	size := 0
	for i := range services {
		before := len(env)
		env = addressEnv(env, &services[i])
		if size += sizeOf(env[before:]); size > maxLinkBytes {
			return env[:before]
		}
	}
	return env
}

// HasLinks reports whether a ConfigMap has the current variables of all Services that are at least
// as old as a pod. A Service that was created again under its name has another address.
func HasLinks(services []corev1.Service, virtual *corev1.Pod, links *corev1.ConfigMap) bool {
	if LacksServiceLinks(links) {
		return true
	}
	for i := range services {
		service := &services[i]
		if !isLinked(service) || service.CreationTimestamp.After(virtual.CreationTimestamp.Time) {
			continue
		}
		if links.Data[envName(service.Name)+hostSuffix] != service.Spec.ClusterIP {
			return false
		}
	}
	return true
}

// isLinked reports whether a Service has variables in the ConfigMap. Those of the API are in the
// pod itself.
func isLinked(service *corev1.Service) bool {
	isAPI := service.Namespace == metav1.NamespaceDefault && service.Name == kubernetesService
	return !isAPI && hasAddress(service)
}

// apiEnv returns the variables of the virtual API. They take precedence over those of the host's
// API, which the kubelet always sets.
func apiEnv(in PodInput) []corev1.EnvVar {
	kubernetes := corev1.Service{Spec: corev1.ServiceSpec{
		ClusterIP: in.KubernetesServiceIP,
		Ports:     []corev1.ServicePort{{Name: "https", Port: 443, Protocol: corev1.ProtocolTCP}},
	}}
	kubernetes.Name = kubernetesService
	return dockerEnv(addressEnv(nil, &kubernetes), &kubernetes)
}

// addServiceEnv adds the variables of the API to each container, and the service links if the pod
// has them enabled. They come first, so that a variable of the tenant with the same name wins.
// The service links of the host's kubelet are disabled in the host pod.
func addServiceEnv(in PodInput, virtual *corev1.Pod, spec *corev1.PodSpec) {
	api := apiEnv(in)
	eachContainer(spec, func(container *corev1.Container) {
		prependEnv(api, virtual, container)
		if !HasServiceLinks(virtual) {
			return
		}
		links := corev1.EnvFromSource{ConfigMapRef: &corev1.ConfigMapEnvSource{
			LocalObjectReference: corev1.LocalObjectReference{Name: LinksKey(in.Cluster, virtual.Namespace).Name},
			// The pod must run even if the host refuses the ConfigMap.
			Optional: new(true),
		}}
		container.EnvFrom = append([]corev1.EnvFromSource{links}, container.EnvFrom...)
	})
}

// HasServiceLinks reports whether a pod has service links enabled, which is the default.
func HasServiceLinks(virtual *corev1.Pod) bool {
	return virtual.Spec.EnableServiceLinks == nil || *virtual.Spec.EnableServiceLinks
}

// sizeOf returns the total size of variables in bytes.
func sizeOf(env []corev1.EnvVar) int {
	size := 0
	for i := range env {
		size += len(env[i].Name) + len(env[i].Value)
	}
	return size
}

// hasAddress reports whether a Service has a cluster IP and a port.
func hasAddress(service *corev1.Service) bool {
	return service.Spec.ClusterIP != "" && service.Spec.ClusterIP != corev1.ClusterIPNone && len(service.Spec.Ports) > 0
}

// addressEnv appends the Kubernetes-style variables of one Service.
func addressEnv(env []corev1.EnvVar, service *corev1.Service) []corev1.EnvVar {
	add := func(name, value string) { env = append(env, corev1.EnvVar{Name: name, Value: value}) }
	name := envName(service.Name)
	add(name+hostSuffix, service.Spec.ClusterIP)
	add(name+"_SERVICE_PORT", strconv.Itoa(int(service.Spec.Ports[0].Port)))
	for _, port := range service.Spec.Ports {
		if port.Name != "" {
			add(name+"_SERVICE_PORT_"+envName(port.Name), strconv.Itoa(int(port.Port)))
		}
	}
	return env
}

// dockerEnv appends the variables of one Service in the style of Docker's links.
func dockerEnv(env []corev1.EnvVar, service *corev1.Service) []corev1.EnvVar {
	add := func(name, value string) { env = append(env, corev1.EnvVar{Name: name, Value: value}) }
	name := envName(service.Name)
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

// envName returns the name of a Service or port as it is in names of variables.
func envName(name string) string {
	return strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}
