// Package labels holds every label, annotation and finalizer key that Sublet
// writes, with who writes it and who reads it. Whoever needs a key takes it
// from here; a key spelled out anywhere else is a mistake.
package labels

// Domain is the prefix of every key that Sublet owns. Tenants cannot set keys
// below it on the host: theirs are renamed, see [TenantPrefix].
const Domain = "sublet.dev"

// Keys on host objects. The syncer engine writes them when it creates a host
// object and the engine reads them back to prove that the object is its own.
const (
	// Cluster (label) is the UID of the virtual cluster that the object
	// belongs to. Host watches select by it, and so do host Services and
	// affinity terms, so that no two virtual clusters ever select each other's
	// pods.
	Cluster = Domain + "/cluster"

	// Namespace (label) is the name of the virtual namespace. Selectors that a
	// tenant wrote are confined to it, or to a set of its values.
	Namespace = Domain + "/namespace"

	// Release (label) is, on host pods of a tenant, the name of the release. The chart, which
	// does not know the cluster's UID, selects them by it in its NetworkPolicies.
	Release = Domain + "/release"

	// IsolatedIngress and IsolatedEgress (labels, value "true") mark host pods that a
	// NetworkPolicy of the tenant selects for that direction. The release's own policies
	// leave that direction of them to the copies of the tenant's policies.
	IsolatedIngress = Domain + "/isolated-ingress"
	IsolatedEgress  = Domain + "/isolated-egress"

	// VirtualName, VirtualNamespace and VirtualUID (annotations) are the
	// identity of the virtual object that a host object is the copy of.
	// VirtualUID is "pending" on a host object that was made at admission,
	// before the virtual object had a UID.
	VirtualName      = Domain + "/virtual-name"
	VirtualNamespace = Domain + "/virtual-namespace"
	VirtualUID       = Domain + "/virtual-uid"

	// Awaits (annotation) is, on a host object, the resource version of the virtual
	// object that it is ahead of. The host took a change of the tenant before the
	// virtual API server stored it. The engine writes it with the change. Reconciles of
	// every replica wait until the virtual object is newer, and clear the key.
	Awaits = Domain + "/awaits"

	// TenantPrefix is the prefix of label keys that a tenant chose. A tenant's
	// key "app" becomes "t.sublet.dev/app-<hash>" on the host, so it cannot match
	// a host Service, a network policy or the exemption of a webhook.
	TenantPrefix = "t." + Domain + "/"

	// CopiedAnnotations (annotation) has the keys of the annotations of a host object that
	// are the tenant's, with commas between them. The engine writes it with them, so that
	// it deletes no annotation of the host.
	CopiedAnnotations = Domain + "/copied-annotations"

	// CopiedLabels (annotation) has the keys of the labels of a host object that are the
	// tenant's and keep their key, with commas between them. The kinds write it with them.
	CopiedLabels = Domain + "/copied-labels"

	// Patched (annotation) is what the operator's patches last wrote to a host object, as JSON
	// digests by field. The engine writes it with the object, and reads it at the next
	// reconcile: what others change of these fields then stays.
	Patched = Domain + "/patched"

	// NotSelected (taint) is on a virtual node that pods of the tenant run on and that is no
	// longer in sync.fromHost.nodes.selector. The nodes kind sets and removes it.
	NotSelected = Domain + "/not-selected"

	// Place (annotation) is the node that a host pod is held to, because the
	// virtual scheduler or the tenant chose it. The pods kind writes it with
	// the virtual scheduler on, and withdraws a pod that waits for the wrong one.
	Place = Domain + "/place"

	// LimitedTo (annotation) is the node that the tenant had bound a pod to when its host pod was
	// created, without the virtual scheduler. The pods kind writes it with the pod. It shows that
	// the host pod was limited to that node, whatever admission of the host has made of it.
	LimitedTo = Domain + "/limited-to"

	// HostRules (annotation) is a digest of the operator's rules about the place of a host pod.
	// The pods kind writes it with the pod. It creates a pod again that waits for a node under
	// other rules.
	HostRules = Domain + "/host-rules"

	// Replica (label, value "true") marks host Services under a name that the operator chose, see
	// networking.replicateServices.toHost. The kind replicatedservices writes it. It deletes those
	// whose entry is gone.
	Replica = Domain + "/replica"

	// ReadinessGates (type of a condition) is the one readiness gate of a host pod whose virtual
	// pod has readiness gates. The pods kind opens it when all of those are open. Until then,
	// no Service of the host leads to the pod.
	ReadinessGates = Domain + "/readiness-gates"

	// ClaimedHosts (annotation) has the host names of a host Ingress, with commas between them.
	// The ingresses kind writes it after it has found that nobody else has one of them. It
	// reads it to know which names it has looked up.
	ClaimedHosts = Domain + "/claimed-hosts"

	// ServiceLinks (annotation, value "cut") is on host ConfigMaps that lack variables of
	// Services, because the namespace has too many. Host pods that are created then have it
	// too. The kinds servicelinks and pods write it, and an Event is recorded.
	ServiceLinks = Domain + "/service-links"

	// DownwardLabels and DownwardAnnotations (annotations) carry the virtual
	// pod's labels and annotations in the format of the downward API, only on
	// pods that mount them whole.
	DownwardLabels      = Domain + "/downward-labels"
	DownwardAnnotations = Domain + "/downward-annotations"
)

// Keys on virtual objects. The syncer engine writes and reads them.
const (
	// HostUID (annotation) is the UID of the host object that a virtual object
	// is the copy of. Without it a virtual object of a host-owned kind is not
	// ours to change or to delete.
	HostUID = Domain + "/host-uid"

	// LastApplied (annotation) is what was last applied, as JSON digests, for fields that
	// both sides write. On host pods it is what the tenant last requested among the
	// fields that the host's admission may change. See translate.Pod.
	LastApplied = Domain + "/agreed"

	// Tenant (annotation) is set on virtual nodes. It is the tenant's part that the node's
	// own fields cannot hold, as JSON: hidden values and extended resources. The syncer and the admission of nodes write and read it.
	Tenant = Domain + "/tenant"

	// Bound (annotation) is, on a virtual pod, its own UID, once the syncer has bound
	// it because its host pod was bound. The engine writes it with the binding. A
	// node that a tenant chose, or an annotation copied from another pod, does
	// not prove that there ever was a host pod.
	Bound = Domain + "/bound"

	// ClaimNode (annotation) is, on a virtual claim, the node for which the host makes its
	// volume. The kind persistentvolumeclaims writes it with the annotation that Kubernetes
	// has for that. Another node there is one that a scheduler of the tenant has picked.
	ClaimNode = Domain + "/claim-node"

	// Removed (annotation) is, on a virtual object, its own UID while Sublet has removed
	// its host copy on purpose, as for a pod that sleeps. Who removes the copy writes
	// it first, while the kind is paused. The engine then creates a new copy instead of
	// ending the object, and clears the key.
	Removed = Domain + "/removed"

	// HostConditions (annotation) lists, on a virtual pod, the types of conditions that came
	// from the host and that Kubernetes does not define. Without it, one that is gone on the
	// host looks like one of the tenant. The syncer writes and reads it.
	HostConditions = Domain + "/host-conditions"

	// ControlPlaneService (label, value "true") marks virtual Services whose
	// host Service belongs to the chart (kubernetes, kube-dns). The control
	// plane writes it; the syncer leaves these Services alone.
	ControlPlaneService = Domain + "/control-plane-service"

	// AddedGroup (label, value "true") marks virtual APIServices of groups that the
	// control plane adds to those of Kubernetes, such as metrics.k8s.io. The control plane
	// writes it. It deletes those of groups that it no longer serves.
	AddedGroup = Domain + "/added-group"

	// Definition (annotation) is, on virtual CustomResourceDefinitions that Sublet has
	// written, a digest of what it has written. The server writes and reads it.
	Definition = Domain + "/definition"
)

// Keys on the anchor, the ConfigMap of the release that owns all that the
// syncer creates on the host.
const (
	// Store (annotation) is the UID of the virtual kube-system namespace and
	// StoreRevision (annotation) a resource version that the virtual store has reached.
	// After a restore, a dot and its ID follow the UID. Once an older state of the store was opened, "@" and
	// the lost version follow. The engine writes both. At its start it
	// compares them with the store. If the store is another or an older one, all deletes are
	// on hold.
	Store         = Domain + "/store"
	StoreRevision = Domain + "/store-revision"

	// StoreLocation (annotation) is where the store is, as in "etcd.embedded". The server
	// writes it once the store is open. It refuses an empty store in another place.
	StoreLocation = Domain + "/store-location"

	// AcceptStore (annotation) is written by the operator. It is the UID of a store that
	// the engine must accept although it is not the recorded one. For a kept store, it is
	// the UID of the anchor that the store belonged to.
	AcceptStore = Domain + "/accept-store"

	// Holder (annotation) is the name of the pod that may serve the virtual cluster and
	// write to the host. HolderUID (annotation) is its UID. HolderEpoch (annotation) is a
	// number that grows with each successor. The
	// server writes all three before it opens its store, and reads them to
	// notice a successor.
	Holder      = Domain + "/holder"
	HolderUID   = Domain + "/holder-uid"
	HolderEpoch = Domain + "/holder-epoch"

	// StoreMembers (annotation) lists the pods that are or may be members of the embedded
	// store. Its generation grows when an operator forces a new list. A replica writes
	// its name before it gets a vote. An empty volume joins those members.
	StoreMembers = Domain + "/store-members"
)

// Pending is the value of [VirtualUID] on a host object that was created before
// its virtual object.
const Pending = "pending"
