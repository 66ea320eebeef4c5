package v1alpha1

// Fence is a ValidatingAdmissionPolicy of the host. It bounds what the account of the
// control plane may write, beyond what its Role can express.
type Fence struct {
	// Create the policy and its binding, which needs Kubernetes 1.30 on the host and the permission to
	// create them. auto does where the host has the API and the release has a ClusterRole anyway.
	// Default: auto
	Enabled Switch `json:"enabled"`
}

func defaultFence() Fence { return Fence{Enabled: SwitchAuto} }
