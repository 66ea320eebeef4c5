package translate

import (
	"net"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/sublet-dev/sublet/api/labels"
)

const (
	// maxLinkBytes is how much of a host pod the variables of Services may take. An API
	// server takes 1.5 MiB for all of it, a process 2 MiB for its environment.
	maxLinkBytes = 256 << 10
	// bytesPerVariable is what a variable takes in addition to its name and its value.
	bytesPerVariable = 24
)

// serviceLinksCut is the value of [labels.ServiceLinks].
const serviceLinksCut = "cut"

// LacksServiceLinks reports whether variables of Services are left out of a host pod.
func LacksServiceLinks(host *corev1.Pod) bool {
	return host.Annotations[labels.ServiceLinks] == serviceLinksCut
}

// serviceEnv returns the variables that point a container to Services. The host pod
// disables those of the host's kubelet. The kubelet still sets the ones for the host's
// API; the virtual ones take precedence.
//
// They are a part of the host pod, which an API server takes up to a size. complete is false if
// variables are left out for that: first Docker's of all Services, then whole Services, the
// last by name.
func serviceEnv(in PodInput, virtual *corev1.Pod) (env []corev1.EnvVar, complete bool) {
	kubernetes := corev1.Service{Spec: corev1.ServiceSpec{
		ClusterIP: in.KubernetesServiceIP,
		Ports:     []corev1.ServicePort{{Name: "https", Port: 443, Protocol: corev1.ProtocolTCP}},
	}}
	kubernetes.Name = "kubernetes"
	own := append(addressEnv(nil, &kubernetes), dockerEnv(nil, &kubernetes)...)
	if links := virtual.Spec.EnableServiceLinks; links != nil && !*links {
		return own, true
	}
	services := slices.Clone(in.Services)
	services = slices.DeleteFunc(services, func(s corev1.Service) bool {
		return s.Namespace != virtual.Namespace || s.Name == kubernetes.Name || !hasAddress(&s)
	})
	slices.SortFunc(services, func(a, b corev1.Service) int { return strings.Compare(a.Name, b.Name) })
	spec := &virtual.Spec
	limit := maxLinkBytes / max(1, len(spec.InitContainers)+len(spec.Containers)+len(spec.EphemeralContainers))
	env = own
	for i := range services {
		env = dockerEnv(addressEnv(env, &services[i]), &services[i])
	}
	if sizeOf(env) <= limit {
		return env, true
	}
	env = slices.Clone(own)
	size := sizeOf(env)
	for i := range services {
		before := len(env)
		env = addressEnv(env, &services[i])
		if size += sizeOf(env[before:]); size > limit {
			return env[:before], false
		}
	}
	return env, false
}

// sizeOf returns about how many bytes variables take in a stored pod.
func sizeOf(env []corev1.EnvVar) int {
	size := 0
	for i := range env {
		size += len(env[i].Name) + len(env[i].Value) + bytesPerVariable
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
	add(name+"_SERVICE_HOST", service.Spec.ClusterIP)
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
