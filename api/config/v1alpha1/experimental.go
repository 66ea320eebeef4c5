package v1alpha1

// Experimental has settings that may change in a later version.
type Experimental struct {
	// Objects that the virtual cluster has from its start.
	Deploy Deploy `json:"deploy"`
}

// Deploy has the objects that the control plane creates.
type Deploy struct {
	// Objects in the virtual cluster.
	VCluster DeployVirtual `json:"vcluster"`
}

// DeployVirtual has the objects that the control plane creates in the virtual cluster.
type DeployVirtual struct {
	// YAML documents of objects, as text. The control plane applies them at its start and after a change, as an
	// administrator of the virtual cluster. It retries those that fail, and /syncz has the state. Objects that
	// are removed from here stay in the virtual cluster. A namespaced object without a namespace is in default.
	// Default: ""
	Manifests string `json:"manifests"`
}
