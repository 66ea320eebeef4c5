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

// LinksRole is the role that names the ConfigMap with the variables of the Services of a
// virtual namespace, see [Derived].
const LinksRole = "links"

// kubernetesService is the name of the Service of the API in the namespace default.
const kubernetesService = "kubernetes"

// hostSuffix is the end of the name of the variable with the address of a Service.
const hostSuffix = "_SERVICE_HOST"

// maxLinkBytes is how much of a ConfigMap the variables of Services may take. An API server
// takes 1 MiB of data, a process 2 MiB for its environment and its arguments.
const maxLinkBytes = 512 << 10

// serviceLinksCut is the value of [labels.ServiceLinks].
const serviceLinksCut = "cut"

// LacksServiceLinks reports whether variables of Services are left out of what a host pod
// gets. It takes the pod or the ConfigMap of its namespace.
func LacksServiceLinks(host metav1.Object) bool {
	return host.GetAnnotations()[labels.ServiceLinks] == serviceLinksCut
}

// LinksKey returns the key of the host ConfigMap with the variables of the Services of a virtual
// namespace.
func LinksKey(c Cluster, namespace string) types.NamespacedName {
	return Derived(LinksRole)(c, types.NamespacedName{Name: namespace})
}

// ServiceLinks fills in the ConfigMap with the variables of the Services of one virtual
// namespace. Kubelets read it whenever a container starts. If there are too many, it leaves
// out first Docker's of all Services, then whole Services, the last by name.
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

// boundedEnv returns the addresses of as many Services as fit.
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

// HasLinks reports whether a ConfigMap has the variables of the Services that are not
// younger than a pod. A Service that was made again under its name has another address.
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

// isLinked reports whether the pods of its namespace get variables of a Service. Those of the
// API are in the pod itself.
func isLinked(service *corev1.Service) bool {
	isAPI := service.Namespace == metav1.NamespaceDefault && service.Name == kubernetesService
	return !isAPI && hasAddress(service)
}

// apiEnv returns the variables that point a container to the virtual API. The kubelet
// still sets the ones for the host's API; the virtual ones take precedence.
func apiEnv(in PodInput) []corev1.EnvVar {
	kubernetes := corev1.Service{Spec: corev1.ServiceSpec{
		ClusterIP: in.KubernetesServiceIP,
		Ports:     []corev1.ServicePort{{Name: "https", Port: 443, Protocol: corev1.ProtocolTCP}},
	}}
	kubernetes.Name = kubernetesService
	return dockerEnv(addressEnv(nil, &kubernetes), &kubernetes)
}

// linkServices gives each container the variables of the API, and with service links those
// of the Services of its namespace. The host pod disables those of the host's kubelet. What
// the tenant sets wins under the same name, as the variables of Services come first.
func linkServices(in PodInput, virtual *corev1.Pod, spec *corev1.PodSpec) {
	api := apiEnv(in)
	eachContainer(spec, func(container *corev1.Container) {
		containerEnv(api, virtual, container)
		if !HasServiceLinks(virtual) {
			return
		}
		links := corev1.EnvFromSource{ConfigMapRef: &corev1.ConfigMapEnvSource{
			LocalObjectReference: corev1.LocalObjectReference{Name: LinksKey(in.Cluster, virtual.Namespace).Name},
			// A host that refuses the ConfigMap must not keep the pod from running.
			Optional: new(true),
		}}
		container.EnvFrom = append([]corev1.EnvFromSource{links}, container.EnvFrom...)
	})
}

// HasServiceLinks reports whether a pod gets variables of the Services of its namespace.
func HasServiceLinks(virtual *corev1.Pod) bool {
	return virtual.Spec.EnableServiceLinks == nil || *virtual.Spec.EnableServiceLinks
}

// sizeOf returns how many bytes variables take.
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

// addressEnv appends the variables of one Service as Kubernetes spells them.
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

// dockerEnv appends the variables of one Service as Docker's links spell them.
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

// envName returns the name of a Service as variables spell it.
func envName(name string) string {
	return strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}
