package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
)

// Sync selects the objects that are synced between the two clusters.
//
// The settings that kinds have alike are in Kinds. A kind with further settings has a
// field below ToHost or FromHost too. In YAML both are at the kind's path.
type Sync struct { //nolint:recvcheck // json reads through a pointer and writes a value
	// Objects of the tenant that get a copy on the host.
	ToHost ToHost `json:"toHost"`
	// Objects of the host that the tenant sees.
	FromHost FromHost `json:"fromHost"`
	// Kinds maps the path of a kind's settings -> the settings that kinds have alike.
	Kinds map[string]KindSettings `json:"-"`
}

// ToHost has the further settings of kinds whose originals are the tenant's.
type ToHost struct {
	// pods are always synced.
	Pods Pods `json:"pods"`
	// configMaps of the tenant.
	ConfigMaps Referred `json:"configMaps"`
	// secrets of the tenant.
	Secrets Referred `json:"secrets"`
	// serviceAccounts of the tenant.
	ServiceAccounts ServiceAccounts `json:"serviceAccounts"`
	// Volumes of the tenant's claims.
	PersistentVolumes PersistentVolumes `json:"persistentVolumes"`
	// podDisruptionBudgets of the tenant.
	PodDisruptionBudgets PodDisruptionBudgets `json:"podDisruptionBudgets"`
	// Custom resources of the tenant that get a copy on the host, by plural.group or plural.group/version, such
	// as {certificates.cert-manager.io: {enabled: true}}. The definition is copied from the host, and the host's
	// controllers serve the copies. The keys of an entry are enabled, references, allowedFields, trusted and
	// patches. references is a list of rules for fields that name or select other objects, such as
	// {path: spec.tls[*].secretName, to: secrets}. Fields that look like references and have no rule must be empty,
	// unless trusted is true. allowedFields lists the only fields that pass, such as spec.size. Empty passes all.
	// Default: {}
	CustomResources map[string]CustomResource `json:"customResources" keys:"custom-resource"`
}

// FromHost has the further settings of kinds whose originals are the host's.
type FromHost struct {
	// nodes of the host.
	Nodes Nodes `json:"nodes"`
	// configMaps of the host.
	ConfigMaps Mapped `json:"configMaps"`
	// secrets of the host.
	Secrets Mapped `json:"secrets"`
	// Custom resources of the host that the tenant sees and cannot change, by plural.group or
	// plural.group/version, such as {clusterissuers.cert-manager.io: {enabled: true}}. The definition is copied
	// from the host. The keys of an entry are enabled, scope, selector, mappings and patches. With scope:
	// Namespaced, mappings.byName leads to the objects, as for configMaps.
	// Default: {}
	CustomResources map[string]HostCustomResource `json:"customResources" keys:"custom-resource"`
}

// Pods are the settings of the tenant's pods.
type Pods struct {
	// Labels that the host node of each pod of the tenant must have. For nodes that the tenant sees by
	// their labels, set sync.fromHost.nodes.selector.labels instead: it limits the pods too.
	// Default: {}
	NodeSelector map[string]string `json:"nodeSelector" keys:"label-key" values:"label-value,optional"`
	// Taints of host nodes that each pod of the tenant tolerates, as key, key=value, key:Effect or
	// key=value:Effect. They are added after policies.pods.tolerations is checked. Nodes are shown to the
	// tenant without them, so that its scheduler and its DaemonSets use these nodes. Unlike in vCluster,
	// "*" is not possible.
	// Default: []
	EnforceTolerations []string `json:"enforceTolerations" format:"toleration" unique:"true"`
	// Runtime class of the host that each pod of the tenant gets, whichever it asks for.
	// Default: ""
	RuntimeClassName string `json:"runtimeClassName" format:"object-name,optional"`
	// Priority class of the host that each pod of the tenant gets. Empty means the one that the pod names,
	// if sync.fromHost.priorityClasses shows it, then that of priorityClasses, or else the default of the
	// host. The classes of system- are refused, here and there: all others have a value of at most
	// 1000000000.
	// Default: ""
	PriorityClassName string `json:"priorityClassName" format:"object-name,optional"`
	// Priority classes of the host by the lowest priority in the virtual cluster that gets them, such as
	// {"0": tenant-low, "1000": tenant-high}. Important pods of the tenant then get room on a full host, and
	// are evicted last. Pods of others with a lower priority have to make room too, unless a class has
	// preemptionPolicy: Never. The preemptionPolicy of the tenant's own classes does not count: a pod that
	// must not preempt, and does, gets an Event. A pod below the lowest entry gets the class of that. Empty
	// means that no priority of the tenant counts on the host, and a pod that has one gets an Event.
	// Default: {}
	PriorityClasses map[string]string `json:"priorityClasses" keys:"priority" values:"object-name"`
	// Images of the tenant's pods by the images that the host pulls instead, by full names, such as
	// {"docker.io/library/nginx": mirror.example.com/nginx}. That has all tags and digests of the image. Names
	// that end with * are beginnings, such as {"docker.io/*": mirror.example.com/hub/}. The longest name
	// counts, and the rest of the name stays. It is for all containers and image volumes. Policies judge the
	// names that the tenant uses.
	// Default: {}
	TranslateImage map[string]string `json:"translateImage" keys:"image-pattern" values:"image-prefix"`
	// Whole names in /etc/hosts.
	RewriteHosts RewriteHosts `json:"rewriteHosts"`
	// Labels of pods that keep their key on the host. All labels are there too under keys that nothing
	// else uses.
	Labels PassedLabels `json:"labels"`
	// Annotations of pods that reach the host. All others stay in the virtual cluster.
	Annotations PassedAnnotations `json:"annotations"`
	// Pods that schedulers of the host place.
	HybridScheduling HybridScheduling `json:"hybridScheduling"`
}

// RewriteHosts has the settings of /etc/hosts in pods of the tenant.
type RewriteHosts struct {
	// Put the whole name of each new pod with a subdomain into its /etc/hosts, as StatefulSets have one, so
	// that hostname -f prints it. Such a pod gets an init container on the host. The tenant does not see it.
	// Default: false
	Enabled bool `json:"enabled"`
	// Container that writes the file.
	InitContainer HostsContainer `json:"initContainer"`
}

// HostsContainer has the settings of the container that writes /etc/hosts.
type HostsContainer struct {
	// Image with sh and sed.
	// Default: docker.io/library/busybox:1.37
	Image string `json:"image" format:"image-prefix"`
}

// HybridScheduling leaves some pods to schedulers of the host.
type HybridScheduling struct {
	// Names of schedulers of the host. The schedulerName of a pod is passed to the host if it is one of
	// them. All other names stay in the virtual cluster.
	// Default: []
	HostSchedulers []string `json:"hostSchedulers" format:"object-name" unique:"true"`
}

// Referred are the settings of a kind of which the host needs only some objects.
type Referred struct {
	// Sync every object of this kind, not only those that a synced object refers to.
	// Default: false
	All bool `json:"all"`
}

// Nodes are the settings of the host's nodes.
type Nodes struct {
	// Nodes that the tenant sees. With all: false and no labels, these are the nodes on which the tenant's
	// pods run.
	Selector NodeSelector `json:"selector"`
	// Hide nodes with the taint node-role.kubernetes.io/control-plane and the effect NoSchedule or
	// NoExecute. A node stays while a pod of the tenant runs there. A taint in
	// sync.toHost.pods.enforceTolerations does not count. A control plane without the taint is a node
	// for everybody, as on a host of one node.
	// Default: true
	HideControlPlane bool `json:"hideControlPlane"`
	// Hide status.images of nodes: it lists other tenants' images.
	// Default: true
	ClearImageStatus bool `json:"clearImageStatus"`
	// Annotations of host nodes that the tenant sees: keys, or prefixes that end with *. Nothing in a
	// virtual cluster needs one. Tools keep join tokens, addresses and arguments of nodes there.
	// Default: []
	Annotations []string `json:"annotations" format:"key-pattern" unique:"true"`
	// Further fields of host nodes that the tenant sees. externalAddresses are the addresses of the types
	// ExternalIP and ExternalDNS.
	// Default: []
	ShowFields []ShownField `json:"showFields" enum:"externalAddresses,podCIDRs,providerID" unique:"true"`
	// Apply the tenant's node changes to the host node first (needs patch on nodes). Labels and taints under
	// kubernetes.io, k8s.io, node-restriction.kubernetes.io and sublet.dev are never applied.
	// Default: false
	SyncBackChanges bool `json:"syncBackChanges"`
	// Fields whose changes syncBackChanges applies to the host node.
	// Default: [unschedulable]
	SyncBackFields []NodeField `json:"syncBackFields" enum:"unschedulable,taints,labels" unique:"true"`
	// Keys of labels that syncBackChanges applies to the host node. Name no key by which a release, a pod or a
	// policy of the host selects nodes. Keys of selector.labels are never applied.
	// Default: []
	SyncBackLabels []string `json:"syncBackLabels" format:"label-key" unique:"true"`
	// Effects of taints that syncBackChanges applies to the host node. NoExecute evicts the pods of everybody.
	// Default: [NoSchedule, PreferNoSchedule]
	SyncBackTaintEffects []corev1.TaintEffect `json:"syncBackTaintEffects" enum:"NoSchedule,PreferNoSchedule,NoExecute" unique:"true"`
	// Allow syncBackChanges without selector.labels. The tenant then changes nodes that others use too.
	// Default: false
	SyncBackSharedNodes bool `json:"syncBackSharedNodes"`
}

// ShownField is a part of a host node that a tenant sees only on request.
type ShownField string

// The parts that showFields may name.
const (
	// ShowExternalAddresses are addresses of the types ExternalIP and ExternalDNS.
	ShowExternalAddresses ShownField = "externalAddresses"
	// ShowPodCIDRs are the ranges of addresses of the pods on the node.
	ShowPodCIDRs ShownField = "podCIDRs"
	// ShowProviderID is the name of the machine at its cloud provider.
	ShowProviderID ShownField = "providerID"
)

// NodeField is a field of a node that a tenant may change.
type NodeField string

// The fields that syncBackFields may name.
const (
	// NodeUnschedulable specifies whether the node is cordoned.
	NodeUnschedulable NodeField = "unschedulable"
	// NodeTaints are its taints.
	NodeTaints NodeField = "taints"
	// NodeLabels are its labels.
	NodeLabels NodeField = "labels"
)

// NodeSelector selects the nodes that the tenant sees.
type NodeSelector struct {
	// Every node of the host.
	// Default: true
	All bool `json:"all"`
	// Nodes with all of these labels. The tenant's pods run on no other node. Needs all: false.
	// Default: {}
	Labels map[string]string `json:"labels" keys:"label-key" values:"label-value,optional"`
}
