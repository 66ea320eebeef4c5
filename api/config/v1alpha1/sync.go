package v1alpha1

// Sync says which objects are kept in step between the two clusters. Pods always
// are.
type Sync struct {
	// toHost is about objects of the tenant that get a copy on the host.
	ToHost ToHost `json:"toHost"`
	// fromHost is about objects of the host that the tenant sees.
	FromHost FromHost `json:"fromHost"`
}

// ToHost is about objects of the tenant that get a copy on the host.
type ToHost struct {
	// pods are the tenant's pods. They always are synced.
	Pods Pods `json:"pods"`
	// services are the Services of the tenant. Without them, pods reach each other by IP only.
	Services Toggle `json:"services"`
	// endpointSlices are those of Services without a selector.
	EndpointSlices Toggle `json:"endpointSlices"`
	// configMaps are the ConfigMaps of the tenant.
	ConfigMaps Referred `json:"configMaps"`
	// secrets are the Secrets of the tenant.
	Secrets Referred `json:"secrets"`
	// persistentVolumeClaims are the claims of the tenant. The host provides the volumes.
	PersistentVolumeClaims Toggle `json:"persistentVolumeClaims"`
}

// FromHost is about objects of the host that the tenant sees.
type FromHost struct {
	// nodes are the host's nodes.
	Nodes Nodes `json:"nodes"`
	// storageClasses are the StorageClasses that a claim of the tenant may name. They need the
	// cluster-wide right to read StorageClasses.
	StorageClasses Toggle `json:"storageClasses"`
	// events are what the host reports about the tenant's objects, such as "image not found".
	Events Toggle `json:"events"`
}

// Pods says how the tenant's pods run on the host.
type Pods struct {
	// hybridScheduling leaves some pods to schedulers of the host.
	HybridScheduling HybridScheduling `json:"hybridScheduling"`
}

// HybridScheduling leaves some pods to schedulers of the host.
type HybridScheduling struct {
	// hostSchedulers are schedulers of the host by their names. A pod that asks for one of them in its
	// schedulerName is left to it. Of all other pods the name stays in the virtual cluster.
	// Default: []
	HostSchedulers []string `json:"hostSchedulers" format:"object-name" unique:"true"`
}

// Toggle switches a kind on or off.
type Toggle struct {
	// enabled syncs this kind.
	// Default: true
	Enabled bool `json:"enabled"`
}

// Referred switches a kind of which only some objects are needed on the host.
type Referred struct {
	// enabled syncs this kind. If false, a pod that refers to one does not start.
	// Default: true
	Enabled bool `json:"enabled"`
	// all syncs every object of this kind, not only those that a synced object refers to.
	// Default: false
	All bool `json:"all"`
}

// Nodes says which nodes of the host the tenant sees, and what of them.
type Nodes struct {
	// enabled shows real nodes, which needs the cluster-wide right to read nodes. If false, the tenant
	// sees a stand-in for every node on which a pod of theirs runs.
	// Default: true
	Enabled bool `json:"enabled"`
	// selector says which nodes the tenant sees. With all false and no labels, these are the nodes on
	// which a pod of theirs runs.
	Selector NodeSelector `json:"selector"`
	// clearImageStatus leaves out which images lie on a node. They tell what other tenants run.
	// Default: true
	ClearImageStatus bool `json:"clearImageStatus"`
	// syncBackChanges passes what the tenant changes of a node on to the host's node, before the virtual
	// one shows it. It needs the cluster-wide right to patch nodes. Names under kubernetes.io, k8s.io,
	// node-restriction.kubernetes.io and sublet.dev are never passed on.
	// Default: false
	SyncBackChanges bool `json:"syncBackChanges"`
	// syncBackFields are the fields whose changes are passed on with syncBackChanges.
	// Default: [unschedulable, taints, labels]
	SyncBackFields []NodeField `json:"syncBackFields" enum:"unschedulable,taints,labels" unique:"true"`
}

// NodeField is a field of a node that a tenant may have a part in.
type NodeField string

// The fields that can be passed on to the host.
const (
	// NodeUnschedulable is whether the node is cordoned.
	NodeUnschedulable NodeField = "unschedulable"
	// NodeTaints are its taints.
	NodeTaints NodeField = "taints"
	// NodeLabels are its labels.
	NodeLabels NodeField = "labels"
)

// NodeSelector says which nodes the tenant sees.
type NodeSelector struct {
	// all shows every node of the host.
	// Default: true
	All bool `json:"all"`
	// labels shows the nodes that have all of these labels, and lets the tenant's pods run on no other.
	// Needs all: false.
	// Default: {}
	Labels map[string]string `json:"labels" keys:"label-key" values:"label-value,optional"`
}
