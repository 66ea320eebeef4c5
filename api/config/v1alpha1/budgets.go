package v1alpha1

// PodDisruptionBudgets are the settings of the tenant's PodDisruptionBudgets. Unlike in
// vCluster they are synced by default: whoever writes one expects that it counts.
type PodDisruptionBudgets struct {
	// Time in seconds for which a budget may hold up the drain of a host node. A budget with a pod on a node
	// that has been cordoned for longer loses its host copy until the node is drained or uncordoned. Needs
	// sync.fromHost.nodes. 0 means that budgets hold without a limit; "kubectl drain --disable-eviction" on
	// the host ignores them.
	// Default: 3600
	DrainTimeoutSeconds int32 `json:"drainTimeoutSeconds" min:"0" max:"604800"`
}

// defaultPodDisruptionBudgets returns a limit by which each drain ends.
func defaultPodDisruptionBudgets() PodDisruptionBudgets {
	return PodDisruptionBudgets{DrainTimeoutSeconds: 3600}
}
