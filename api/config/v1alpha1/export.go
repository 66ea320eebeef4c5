package v1alpha1

import (
	"net"
	"net/url"
	"slices"
)

// ExportKubeConfig has the settings of the kubeconfig that the control plane
// writes for the tenant.
type ExportKubeConfig struct {
	// Name of the context, the cluster and the user. Empty means the name of the release.
	// Default: ""
	Context string `json:"context" format:"context-name,optional"`
	// URL of the virtual API for tenants outside of the host cluster. Its host is added to the serving
	// certificate. Empty means the host of controlPlane.ingress or controlPlane.tlsRoute. Without both, it follows the
	// address of a Service of type LoadBalancer or NodePort, or else is the Service in the host cluster,
	// https://RELEASE.NAMESPACE.
	// Default: ""
	Server string `json:"server" format:"https-url,optional"`
	// Leave the certificate authority out, and do not verify the server. Anybody on the way can then act as the
	// server.
	// Default: false
	Insecure bool `json:"insecure"`
	// Service account of the virtual cluster whose token the kubeconfig has instead of a client
	// certificate.
	ServiceAccount ExportServiceAccount `json:"serviceAccount"`
	// Further Secret with the same kubeconfig.
	Secret ExportSecret `json:"secret"`
	// Further Secrets with kubeconfigs of their own, also in other namespaces. Each is a map of name,
	// namespace (empty means that of the release), context, server, insecure and serviceAccount. The chart creates the
	// Secrets, so the namespaces must exist. The control plane may get, watch and update just these
	// Secrets.
	// Default: []
	AdditionalSecrets []AdditionalSecret `json:"additionalSecrets"`
}

// ExportServiceAccount names a service account of the virtual cluster.
type ExportServiceAccount struct {
	// Name of the service account. The control plane creates it, and renews its token, which is valid for 30
	// days. Empty means a client certificate.
	// Default: ""
	Name string `json:"name" format:"object-name,optional"`
	// Namespace of the service account. Empty means kube-system.
	// Default: ""
	Namespace string `json:"namespace" format:"object-name,optional"`
	// ClusterRole to bind to the service account, such as cluster-admin. Empty binds none.
	// Default: ""
	ClusterRole string `json:"clusterRole"`
}

// ExportSecret names a further Secret on the host.
type ExportSecret struct {
	// Name of the Secret. Empty means none but RELEASE-kubeconfig.
	// Default: ""
	Name string `json:"name" format:"object-name,optional"`
	// Namespace of the Secret. Empty means that of the release.
	// Default: ""
	Namespace string `json:"namespace" format:"object-name,optional"`
}

// AdditionalSecret is a further Secret with a kubeconfig. What is empty is as in
// [ExportKubeConfig].
type AdditionalSecret struct {
	Name           string               `json:"name" format:"object-name"`
	Namespace      string               `json:"namespace,omitempty" format:"object-name,optional"`
	Context        string               `json:"context,omitempty" format:"context-name,optional"`
	Server         string               `json:"server,omitempty" format:"https-url,optional"`
	Insecure       bool                 `json:"insecure,omitempty"`
	ServiceAccount ExportServiceAccount `json:"serviceAccount,omitzero"`
}

// FurtherSecrets returns the further Secrets with kubeconfigs. What is empty is as in
// RELEASE-kubeconfig, and an empty namespace is that of the release.
func (e ExportKubeConfig) FurtherSecrets() []AdditionalSecret {
	var all []AdditionalSecret
	if e.Secret.Name != "" {
		all = append(all, AdditionalSecret{
			Name: e.Secret.Name, Namespace: e.Secret.Namespace, Insecure: e.Insecure, ServiceAccount: e.ServiceAccount,
		})
	}
	return append(all, e.AdditionalSecrets...)
}

// ServingNames returns further DNS names and IPs of the serving certificate. It adds the hosts
// under which clients reach the virtual API.
func (c *Config) ServingNames() []string {
	names := slices.Clone(c.ControlPlane.Proxy.ExtraSANs)
	servers := []string{c.ExportKubeConfig.Server}
	for _, secret := range c.ExportKubeConfig.AdditionalSecrets {
		servers = append(servers, secret.Server)
	}
	for _, text := range servers {
		if server, err := url.Parse(text); err == nil { // else refused by validation
			names = withName(names, server.Hostname())
		}
	}
	if c.ControlPlane.Ingress.Enabled {
		names = withName(names, c.ControlPlane.Ingress.Host)
	}
	if c.ControlPlane.TLSRoute.Enabled {
		names = withName(names, c.ControlPlane.TLSRoute.Host)
	}
	return names
}

// withName adds a name or an IP to names, unless it is empty or one of them.
func withName(names []string, name string) []string {
	for _, other := range names {
		if other == name || net.ParseIP(name) != nil && net.ParseIP(name).Equal(net.ParseIP(other)) {
			return names
		}
	}
	if name == "" {
		return names
	}
	return append(names, name)
}

// exportCombinations returns the rules of the exported kubeconfigs.
func exportCombinations() []Combination {
	return []Combination{{
		Name: "exported-twice", Path: "exportKubeConfig.additionalSecrets",
		Detail: "each Secret needs a name, and a name and namespace of its own, also next to exportKubeConfig.secret",
		Violated: func(c *Config) bool {
			seen := map[[2]string]bool{}
			for _, secret := range c.ExportKubeConfig.FurtherSecrets() {
				key := [2]string{secret.Namespace, secret.Name}
				if secret.Name == "" || seen[key] {
					return true
				}
				seen[key] = true
			}
			return false
		},
	}}
}
