package v1alpha1

// Integrations has the parts of the virtual cluster that are made of what the host runs.
type Integrations struct {
	// Metrics API (metrics.k8s.io), for kubectl top and autoscalers.
	MetricsServer MetricsServer `json:"metricsServer"`
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

func defaultIntegrations() Integrations {
	return Integrations{MetricsServer: MetricsServer{Pods: true, Nodes: true}}
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
