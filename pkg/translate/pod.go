package translate

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/sublet-dev/sublet/api/labels"
)

// TokenRole is the role that names the Secret with a pod's service account
// tokens, see [Derived].
const TokenRole = "token"

// PodInput is what the host copy of a pod depends on, in addition to the pod itself.
type PodInput struct {
	// Cluster is the identity of the virtual cluster.
	Cluster Cluster
	// ServiceAccount is the host service account that every tenant's pod runs as.
	// It has no rights and no token.
	ServiceAccount string
	// KubernetesServiceIP is the ClusterIP of the virtual Service
	// default/kubernetes, reached on port 443.
	KubernetesServiceIP string
	// DNSServiceIP is the ClusterIP of the virtual cluster's DNS.
	DNSServiceIP string
	// ClusterDomain is the DNS domain of the virtual cluster.
	ClusterDomain string
	// NodeSearches are the search domains that follow those of the virtual cluster. Empty
	// means none.
	NodeSearches []string
	// VirtualScheduler is set for a pod whose node the virtual scheduler assigns. No host
	// pod is built for it without a node, unless SeeksRoom is set.
	VirtualScheduler bool
	// SeeksRoom is set for a pod without a node whose host pod shows the host that it needs
	// one. No scheduler of the host binds it.
	SeeksRoom bool
	// Node is the assigned node. The host pod is pinned to it, instead of the tenant's own
	// rules about nodes and pods, which the virtual scheduler has applied. Empty leaves the
	// rules to the host.
	Node string
	// AlwaysPull lets the host pull every image with the pod's own credentials.
	AlwaysPull bool
	// TranslateImage returns the image that the host pulls for one of the tenant. nil keeps
	// them all.
	TranslateImage func(image string) string
	// HostsImage is the image of the container that writes the whole name of a pod into its
	// /etc/hosts. Empty leaves the file of the host.
	HostsImage string
	// HostSchedulers are the schedulers of the host that pods may ask for.
	HostSchedulers []string
	// NodeSelector limits pods to the nodes of the host with these labels. Empty means all.
	NodeSelector map[string]string
	// Enforced is what the operator puts into every host pod.
	Enforced Enforced
	// HostRules is the result of [HostRules].
	HostRules string
	// QuotaScope puts the pod into the scope Terminating of quotas of the host, which the
	// control plane's own pod is not in. See [longestDeadline].
	QuotaScope bool
	// PassesLabel and PassesAnnotation report which keys of the tenant reach the host as they
	// are. nil passes none.
	PassesLabel, PassesAnnotation func(key string) bool
	// Isolation has the directions in which the tenant's NetworkPolicies isolate the pod.
	Isolation Isolation
	// LacksLinks specifies that the variables of some Services are left out.
	LacksLinks bool
	// ResourceClaims specifies whether the host has the tenant's ResourceClaims.
	ResourceClaims bool
	// Namespaces are the virtual namespaces with their labels. They are read only
	// if [NeedsNamespaces] returns true.
	Namespaces []corev1.Namespace
}

// Pod fills in the host copy of a virtual pod. A host pod that only has the identity of
// [Stamp] gets a whole spec. Of a host pod that exists, Pod changes only what the tenant
// has changed and a pod may still change. What the host's own admission made of the pod
// stays.
func Pod(in PodInput, virtual, host *corev1.Pod) error {
	syncPodMetadata(in, virtual, host)
	host.Labels[labels.Release] = in.Cluster.Name
	setMark(host.Labels, labels.IsolatedIngress, in.Isolation.Ingress)
	setMark(host.Labels, labels.IsolatedEgress, in.Isolation.Egress)
	if host.UID == "" {
		return newPod(in, virtual, host)
	}
	return updatePod(in, virtual, host)
}

// setMark sets a label to "true", or removes it.
func setMark(marks map[string]string, key string, set bool) {
	if set {
		marks[key] = "true"
		return
	}
	delete(marks, key)
}

// setScheduler names the scheduler of a host pod if it is not the default of the host.
func setScheduler(in PodInput, virtual *corev1.Pod, spec *corev1.PodSpec) {
	if slices.Contains(in.HostSchedulers, virtual.Spec.SchedulerName) {
		spec.SchedulerName = virtual.Spec.SchedulerName
	}
	if in.SeeksRoom {
		spec.SchedulerName = roomScheduler
	}
}

// newPod writes the whole spec of a host pod.
func newPod(in PodInput, virtual, host *corev1.Pod) error {
	if in.VirtualScheduler && in.Node == "" && !in.SeeksRoom {
		return fmt.Errorf("cannot build a host pod for %s/%s: it has no assigned node", virtual.Namespace, virtual.Name)
	}
	if err := checkSupported(&virtual.Spec, in.ResourceClaims); err != nil {
		return err
	}
	spec := virtual.Spec.DeepCopy()
	clearVirtualOnlyFields(spec)
	setScheduler(in, virtual, spec)
	spec.ServiceAccountName = in.ServiceAccount
	spec.AutomountServiceAccountToken = new(false)
	spec.EnableServiceLinks = new(false)
	for i := range spec.SchedulingGates {
		spec.SchedulingGates[i].Name = TenantLabel(spec.SchedulingGates[i].Name)
	}
	if err := setHostname(in, virtual, spec); err != nil {
		return err
	}
	setDNS(in, virtual.Namespace, spec)
	rewriteVolumes(virtual, spec)
	if err := resolveClaimTemplates(virtual, spec); err != nil {
		return err
	}
	raiseGrace(spec)
	renameReferences(in.Cluster, virtual.Namespace, spec)
	// After rename, which would give the token Secret a second name.
	tokenVolumes(in.Cluster, virtual, spec)
	linkServices(in, virtual, spec)
	if in.LacksLinks {
		host.Annotations[labels.ServiceLinks] = serviceLinksCut
	}
	rewriteHosts(in, virtual, spec)
	setPullPolicy(in, spec)
	translateImages(in, spec)
	if in.Node == "" {
		rewriteAffinity(in, virtual, spec)
	} else {
		pinToNode(in, spec)
		host.Annotations[labels.Place] = in.Node
	}
	in.Enforced.apply(virtual, spec)
	if in.HostRules != "" {
		host.Annotations[labels.HostRules] = in.HostRules
	}
	host.Spec = *spec
	setQuotaScope(in, host)
	sent, err := EncodeLastApplied(digestRequests(virtual))
	if err != nil {
		return err
	}
	host.Annotations[labels.LastApplied] = sent
	return nil
}

// clearVirtualOnlyFields removes from a spec what has a meaning only in the virtual
// cluster. The host sets its own where it has one.
func clearVirtualOnlyFields(spec *corev1.PodSpec) {
	// Who may preempt whom on the host is the operator's decision.
	spec.PriorityClassName = ""
	spec.Priority = nil
	spec.PreemptionPolicy = nil
	// The host computes it from its own runtime class.
	spec.Overhead = nil
	// Schedulers and eviction responders of the tenant do not run on the host.
	spec.SchedulerName = ""
	spec.EvictionResponders = nil
	spec.DeprecatedServiceAccount = ""
	// An API server takes them only for a pod that exists: they follow.
	spec.EphemeralContainers = nil
	// The node that the tenant names becomes an affinity, so that the pod passes
	// the host's scheduler like every other one.
	spec.NodeName = ""
	// The tenant's conditions stay in the virtual cluster, see [syncReadinessGate].
	if len(spec.ReadinessGates) > 0 {
		spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: labels.ReadinessGates}}
	}
}

// setPullPolicy lets the host pull every image, if the operator asks for it. A node may
// have a private image that somebody else has pulled.
func setPullPolicy(in PodInput, spec *corev1.PodSpec) {
	if !in.AlwaysPull {
		return
	}
	eachContainer(spec, func(container *corev1.Container) { container.ImagePullPolicy = corev1.PullAlways })
	for i := range spec.Volumes {
		if image := spec.Volumes[i].Image; image != nil {
			image.PullPolicy = corev1.PullAlways
		}
	}
}

// translateImages replaces the images of containers and volumes by those that the host pulls.
func translateImages(in PodInput, spec *corev1.PodSpec) {
	if in.TranslateImage == nil {
		return
	}
	eachContainer(spec, func(container *corev1.Container) { container.Image = in.TranslateImage(container.Image) })
	for i := range spec.Volumes {
		if image := spec.Volumes[i].Image; image != nil {
			image.Reference = in.TranslateImage(image.Reference)
		}
	}
}

// maxHostname is the length of a name that Linux takes.
const maxHostname = 63

// setHostname gives the pod the host name that it would have without a host: its virtual
// name, unless the tenant chose one.
func setHostname(in PodInput, virtual *corev1.Pod, spec *corev1.PodSpec) error {
	// On the host a subdomain would put the pod below the host's namespace.
	spec.Subdomain = ""
	if spec.HostNetwork || spec.HostnameOverride != nil {
		return nil
	}
	fqdn := virtual.Spec.SetHostnameAsFQDN != nil && *virtual.Spec.SetHostnameAsFQDN && virtual.Spec.Subdomain != ""
	spec.SetHostnameAsFQDN = nil
	if fqdn {
		full := wholeName(in, virtual, chosenName(virtual))
		if len(full) > maxHostname {
			return &UnsupportedError{[]error{fmt.Errorf("spec.setHostnameAsFQDN: %q has %d characters, a host name has at most %d; use shorter names", full, len(full), maxHostname)}}
		}
		spec.HostnameOverride = &full
		return nil
	}
	name := shortName(virtual)
	if len(validation.IsDNS1123Label(name)) == 0 {
		spec.Hostname = name
	} else {
		// A pod's name may hold dots, a hostname may not.
		spec.HostnameOverride = &name
	}
	return nil
}

// chosenName returns the host name that the tenant gives a pod: by its field, or by its name.
func chosenName(virtual *corev1.Pod) string {
	return cmp.Or(virtual.Spec.Hostname, virtual.Name)
}

// shortName returns the host name of a pod, cut as a kubelet cuts it.
func shortName(virtual *corev1.Pod) string {
	name := chosenName(virtual)
	if len(name) > maxHostname {
		name = strings.TrimRight(name[:maxHostname], "-.")
	}
	return name
}

// wholeName returns a host name with the domain of a pod that has a subdomain.
func wholeName(in PodInput, virtual *corev1.Pod, name string) string {
	return strings.Join([]string{name, virtual.Spec.Subdomain, virtual.Namespace, "svc", in.ClusterDomain}, ".")
}

// isNodeTopology reports whether a pod's label names the place of its node. The API server
// of each side writes it when the pod is bound. A copy would cost one more write per pod
// and come too late for the pod to read it.
func isNodeTopology(key string) bool {
	return key == corev1.LabelTopologyZone || key == corev1.LabelTopologyRegion
}

// key returns the virtual key of a name in the pod's namespace.
func key(namespace, name string) types.NamespacedName {
	return types.NamespacedName{Namespace: namespace, Name: name}
}

// eachContainer visits every container of a pod, whatever its role.
func eachContainer(spec *corev1.PodSpec, visit func(*corev1.Container)) {
	for i := range spec.InitContainers {
		visit(&spec.InitContainers[i])
	}
	for i := range spec.Containers {
		visit(&spec.Containers[i])
	}
	for i := range spec.EphemeralContainers {
		visit((*corev1.Container)(&spec.EphemeralContainers[i].EphemeralContainerCommon))
	}
}

// isOwnKey reports whether Sublet itself writes an annotation of a host pod.
func isOwnKey(key string) bool {
	return key == labels.DownwardLabels || key == labels.DownwardAnnotations || strings.HasPrefix(key, labels.TenantPrefix)
}
