package translate

import (
	"cmp"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/sublet-dev/sublet/api/labels"
)

// IngressSpec returns the spec of the host copy of an Ingress. It refers to the host copies of the
// Services and Secrets. class is an Ingress class of the host, empty for its default.
func IngressSpec(c Cluster, virtual *networkingv1.Ingress, class string) networkingv1.IngressSpec {
	spec := *virtual.Spec.DeepCopy()
	spec.IngressClassName = nil
	if class != "" {
		spec.IngressClassName = &class
	}
	eachBackend(&spec, func(name *string) { *name = Hashed(c, keyOf(virtual.Namespace, *name)).Name })
	for i := range spec.TLS {
		if spec.TLS[i].SecretName != "" {
			spec.TLS[i].SecretName = Hashed(c, keyOf(virtual.Namespace, spec.TLS[i].SecretName)).Name
		}
	}
	return spec
}

// eachBackend visits the names of the backend Services of an Ingress.
func eachBackend(spec *networkingv1.IngressSpec, visit func(name *string)) {
	backends := []*networkingv1.IngressBackend{spec.DefaultBackend}
	for i := range spec.Rules {
		if spec.Rules[i].HTTP == nil {
			continue
		}
		for j := range spec.Rules[i].HTTP.Paths {
			backends = append(backends, &spec.Rules[i].HTTP.Paths[j].Backend)
		}
	}
	for _, backend := range backends {
		if backend != nil && backend.Service != nil {
			visit(&backend.Service.Name)
		}
	}
}

// IngressReferences returns the names of the Services and Secrets that an Ingress refers to.
func IngressReferences(ingress *networkingv1.Ingress) []string {
	names := IngressSecrets(ingress)
	eachBackend(&ingress.Spec, func(name *string) { names = append(names, *name) })
	return names
}

// IngressSecrets returns the names of the Secrets that an Ingress refers to, sorted, each once.
func IngressSecrets(ingress *networkingv1.Ingress) []string {
	names := sets.New[string]()
	for _, tls := range ingress.Spec.TLS {
		if tls.SecretName != "" {
			names.Insert(tls.SecretName)
		}
	}
	return sets.List(names)
}

// IngressHosts returns the host names of an Ingress, sorted, each once. An empty name means
// all names that no other Ingress has.
func IngressHosts(spec *networkingv1.IngressSpec) []string {
	hosts := sets.New[string]()
	for _, rule := range spec.Rules {
		hosts.Insert(rule.Host)
	}
	for _, tls := range spec.TLS {
		hosts.Insert(tls.Hosts...)
	}
	if spec.DefaultBackend != nil {
		hosts.Insert("")
	}
	return sets.List(hosts)
}

// HostText returns the text of a host name. An empty one, which means all names, is "*".
func HostText(host string) string { return cmp.Or(host, "*") }

// ClaimsHost reports whether an Ingress on the host has been found to be the only one with a host name, see
// [labels.ClaimedHosts].
func ClaimsHost(ingress *networkingv1.Ingress, host string) bool {
	return slices.Contains(strings.Split(ingress.Annotations[labels.ClaimedHosts], ","), HostText(host))
}
