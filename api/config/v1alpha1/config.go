package v1alpha1

// Config is the whole configuration. The composition root and the chart get all
// of it; every part of the server gets its own section.
type Config struct {
	// Store, pod, Service and certificate of the control plane.
	ControlPlane ControlPlane `json:"controlPlane"`
	// Objects that are synced between the virtual cluster and the host.
	Sync Sync `json:"sync"`
	// Limits of what the tenant may do.
	Policies Policies `json:"policies"`
	// Services and names of the virtual cluster.
	Networking Networking `json:"networking"`
	// Parts of the virtual cluster that are made of what the host runs.
	Integrations Integrations `json:"integrations"`
	// Kubeconfig in the Secret RELEASE-kubeconfig.
	ExportKubeConfig ExportKubeConfig `json:"exportKubeConfig"`
	// Settings that may change in a later version.
	Experimental Experimental `json:"experimental"`
	// Log settings of the control plane.
	Logging Logging `json:"logging"`
}

// Networking has the settings of Services and names of the virtual cluster.
type Networking struct {
	// IP range of Services, such as 10.96.0.0/12. Empty reads the ServiceCIDR of the host with all its
	// IP families (needs get on servicecidrs). Where that is not possible, it is a wide range around the IP of the Service
	// RELEASE.
	// Default: ""
	ServiceCIDR string `json:"serviceCIDR" format:"cidr,optional"`
	// Range of node ports, such as 30000-32767. Empty asks the host. Where that is not possible, it is
	// the default of Kubernetes.
	// Default: ""
	ServiceNodePortRange string `json:"serviceNodePortRange" format:"port-range,optional"`
	// Names that the DNS of the virtual cluster answers in another way. An entry has hostname, or the path of a
	// service such as shop/db. Its target has a hostname, an ip or a vClusterService, such as
	// [{hostname: db.example.com, target: {vClusterService: shop/db}}]. Names of the host's cluster stay hidden.
	// Default: []
	ResolveDNS []DNSRule `json:"resolveDNS" unique:"true"`
	// Services that one of the two clusters has of the other.
	ReplicateServices ReplicateServices `json:"replicateServices"`
	// Settings that few need.
	Advanced NetworkingAdvanced `json:"advanced"`
}

// NetworkingAdvanced has network settings that few need.
type NetworkingAdvanced struct {
	// DNS domain of Services, as in web.default.svc.cluster.local.
	// Default: cluster.local
	ClusterDomain string `json:"clusterDomain" format:"dns-domain"`
	// Who gets answers of the DNS of the virtual cluster.
	DNS DNS `json:"dns"`
}

// DNS has the settings of the DNS of the virtual cluster.
type DNS struct {
	// IP ranges that get answers in addition to the tenant's pods. Needed where the network of the host
	// replaces the address of a pod on the way to a Service, as kube-proxy does with masqueradeAll.
	// Default: []
	AllowedCIDRs []string `json:"allowedCIDRs" format:"cidr" unique:"true"`
	// Queries per second of one address. Twice as many may come at once, others are dropped.
	// Default: 1000
	QueriesPerSecond int32 `json:"queriesPerSecond" min:"1" max:"1000000"`
	// Names with a fixed address, name -> IP. They replace what the names are elsewhere.
	// Default: {}
	Hosts map[string]string `json:"hosts" keys:"dns-domain" values:"ip"`
	// Names that are answered like another name of the virtual cluster or outside, name -> name. Names of
	// the host's cluster stay hidden.
	// Default: {}
	Rewrite map[string]string `json:"rewrite" keys:"dns-domain" values:"dns-domain"`
	// Domains that a nameserver of their own resolves, domain -> nameserver. It answers whatever it knows,
	// names of the host's cluster too if it is the host's.
	// Default: {}
	Forward map[string]string `json:"forward" keys:"dns-domain" values:"nameserver"`
	// Add the search domains of nodes to those of new pods, as kubelets do in a cluster without a host. They
	// are those of the control plane's node, without the domains of the host's cluster.
	// Default: false
	NodeSearchDomains bool `json:"nodeSearchDomains"`
}

// Logging has the log settings of the control plane.
type Logging struct {
	// Amount of log lines: 0 for operators, 2 adds steps, 4 and more is for debugging.
	// Default: 0
	Verbosity int32 `json:"verbosity" min:"0" max:"10"`
	// Format of a log line: console for people, json for machines.
	// Default: console
	Encoding string `json:"encoding" enum:"console,json"`
}
