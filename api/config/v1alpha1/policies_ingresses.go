package v1alpha1

// IngressPolicy limits what an Ingress of the tenant may ask of the controllers of the host.
// It holds for the Ingresses that sync.toHost.ingresses copies to the host.
type IngressPolicy struct {
	// Host names that Ingresses may have. *.example.com allows all names below it, and the wildcard itself.
	// "*" allows every name, and Ingresses without one, which draw all traffic that no other Ingress takes.
	// Empty allows none.
	// Default: []
	Hosts []string `json:"hosts" format:"host-pattern" unique:"true"`
	// Refuse a host name that an Ingress of somebody else on the host has already (needs list on ingresses
	// in the whole host). Whoever has the name first keeps it.
	// Default: true
	UniqueHosts bool `json:"uniqueHosts"`
	// Ingress classes of the host that Ingresses may name, in addition to those that
	// sync.fromHost.ingressClasses shows. If that is off, an Ingress without a class gets the default class of
	// the host. An Ingress of any other class is left to a controller in the virtual cluster.
	// Default: []
	Classes []string `json:"classes" format:"object-name" unique:"true"`
	// Annotations of Ingresses that are copied to the host, where controllers read them. A key may be a
	// prefix that ends with *. Its value is a regular expression that the whole annotation must match, empty
	// for any. Snippets of configuration never pass. Some need their whole key: those that give further host
	// names, such as server-alias, that name other objects, or that lead elsewhere, such as auth-url. Names of
	// Secrets and Services in annotations are not translated.
	// Default: {}
	Annotations map[string]string `json:"annotations" keys:"key-pattern" values:"regexp,optional"`
}

// defaultIngressPolicy returns the limits of Ingresses.
func defaultIngressPolicy() IngressPolicy {
	return IngressPolicy{Hosts: []string{}, UniqueHosts: true, Classes: []string{}, Annotations: map[string]string{}}
}
