package v1alpha1

// Integrations has the parts of the virtual cluster that are made of what the host runs.
type Integrations struct {
	// Metrics API (metrics.k8s.io), for kubectl top and autoscalers.
	MetricsServer MetricsServer `json:"metricsServer"`
	// Metrics of kubelets, for scrapers.
	KubeletMetrics KubeletMetrics `json:"kubeletMetrics"`
	// Argo CD on the host, which deploys into the virtual cluster.
	ArgoCD ArgoCD `json:"argoCD"`
}

// ArgoCD has the settings of the Secret by which Argo CD knows the virtual cluster.
type ArgoCD struct {
	// Register the virtual cluster, as the Secret sublet.NAMESPACE.RELEASE in the namespace of Argo CD. It has the
	// token of the service account kube-system/sublet-argocd of the virtual cluster, which the control plane
	// renews. The control plane may get, watch and update just this Secret.
	// Default: false
	Enabled bool `json:"enabled"`
	// Namespace of Argo CD on the host.
	// Default: argocd
	Namespace string `json:"namespace" format:"object-name"`
	// ClusterRole of the virtual cluster that Argo CD gets in it.
	// Default: cluster-admin
	ClusterRole string `json:"clusterRole"`
	// Further labels of the Secret. An ApplicationSet selects clusters by them.
	// Default: {}
	Labels map[string]string `json:"labels" keys:"label-key" values:"label-value,optional"`
}

// MetricsServer has the settings of the metrics API of the virtual cluster.
type MetricsServer struct {
	// Serve the metrics API from that of the host: the usage of the tenant's own pods, under their own names
	// (needs list on pods.metrics.k8s.io). The host needs metrics-server. If false, tenants may run a
	// metrics server of their own.
	// Default: false
	Enabled bool `json:"enabled"`
	// Serve the usage of pods.
	// Default: true
	Pods bool `json:"pods"`
	// Serve the usage of nodes: of each node the sum of the tenant's own pods, not what others use.
	// Default: true
	Nodes bool `json:"nodes"`
}

// KubeletMetrics has the settings of the metrics of kubelets.
type KubeletMetrics struct {
	// Serve stats/summary, metrics/resource, metrics/cadvisor and metrics/probes through the proxy of a virtual
	// node (needs get on nodes, nodes/metrics and nodes/stats in the whole host). They have the tenant's own pods,
	// under their own names. The control plane connects to port 10250 of the nodes.
	// Default: false
	Enabled bool `json:"enabled"`
	// Accept any certificate of a kubelet, for hosts whose kubelets sign their own. Whoever takes the address of
	// a node then gets the token of the control plane.
	// Default: false
	InsecureSkipTLSVerify bool `json:"insecureSkipTLSVerify"`
}

func defaultIntegrations() Integrations {
	return Integrations{MetricsServer: MetricsServer{Pods: true, Nodes: true}, ArgoCD: ArgoCD{
		Namespace: "argocd", ClusterRole: "cluster-admin", Labels: map[string]string{},
	}}
}

// integrationCombinations returns the rules of the integrations.
func integrationCombinations() []Combination {
	const server = "integrations.metricsServer."
	return []Combination{{
		Name: "metrics-of-nothing", Path: server + "enabled", With: []string{server + "pods", server + "nodes"},
		Detail: server + "pods and " + server + "nodes are false, so there is nothing to serve; set one of them to true, or this to false",
		Violated: func(c *Config) bool {
			m := c.Integrations.MetricsServer
			return m.Enabled && !m.Pods && !m.Nodes
		},
	}}
}
