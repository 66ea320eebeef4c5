package v1alpha1

import (
	"net"
	"net/url"
)

// Config is the whole configuration. Nobody but the composition root and the
// chart gets all of it; every part of the server is handed its own.
type Config struct {
	// controlPlane says how the control plane runs: its storage, its pod, its Service and its certificate.
	ControlPlane ControlPlane `json:"controlPlane"`
	// sync says which objects are kept in step between the virtual cluster and the host.
	Sync Sync `json:"sync"`
	// networking says how Services and names of the virtual cluster look.
	Networking Networking `json:"networking"`
	// exportKubeConfig says what the kubeconfig in the Secret RELEASE-kubeconfig looks like.
	ExportKubeConfig ExportKubeConfig `json:"exportKubeConfig"`
	// logging says what the control plane writes to its log.
	Logging Logging `json:"logging"`
}

// Networking says how Services and names of the virtual cluster look.
type Networking struct {
	// serviceCIDR is the IP range of Services, such as 10.96.0.0/12. Empty takes it from the host's
	// ServiceCIDR objects or, where there are none (before Kubernetes 1.33) or none may be read, takes a
	// wide range around the IP of the Service RELEASE. If it is set, the right to read them is left out.
	// Default: ""
	ServiceCIDR string `json:"serviceCIDR" format:"cidr,optional"`
	// advanced has settings that few need.
	Advanced NetworkingAdvanced `json:"advanced"`
}

// NetworkingAdvanced has network settings that few need.
type NetworkingAdvanced struct {
	// clusterDomain is the DNS domain under which pods find Services, as in web.default.svc.cluster.local.
	// Default: cluster.local
	ClusterDomain string `json:"clusterDomain" format:"dns-domain"`
}

// ExportKubeConfig says what the kubeconfig looks like that the control plane
// writes for the tenant.
type ExportKubeConfig struct {
	// context is the name of the context, the cluster and the user in the kubeconfig. Empty means the name
	// of the release.
	// Default: ""
	Context string `json:"context" format:"context-name,optional"`
	// server is the https URL in the kubeconfig, for tenants who reach the virtual cluster from outside.
	// Its host is added to the serving certificate. Empty means the Service inside the host cluster,
	// https://RELEASE.NAMESPACE.
	// Default: ""
	Server string `json:"server" format:"https-url,optional"`
}

// Logging says what the control plane writes to its log.
type Logging struct {
	// verbosity is how much is logged: 0 is what an operator needs, 2 adds each step, 4 and more is for
	// developers.
	// Default: 0
	Verbosity int32 `json:"verbosity" min:"0" max:"10"`
	// encoding is the form of a log line: console for people, json for machines.
	// Default: console
	Encoding string `json:"encoding" enum:"console,json"`
}

// ServingNames are the DNS names and IPs that the serving certificate must hold
// beside those that the control plane knows by itself: the extra ones, and the
// host of the URL in the exported kubeconfig.
func (c *Config) ServingNames() []string {
	names := append([]string(nil), c.ControlPlane.Proxy.ExtraSANs...)
	if c.ExportKubeConfig.Server == "" {
		return names
	}
	server, err := url.Parse(c.ExportKubeConfig.Server)
	if err != nil || server.Hostname() == "" {
		return names // refused by validation
	}
	host := server.Hostname()
	for _, name := range names {
		if name == host || net.ParseIP(host) != nil && net.ParseIP(host).Equal(net.ParseIP(name)) {
			return names
		}
	}
	return append(names, host)
}
