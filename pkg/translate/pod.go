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

// PodSettings are the settings that the host copies of all pods depend on.
type PodSettings struct {
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
	// AlwaysPull sets the image pull policy of all containers to Always.
	AlwaysPull bool
	// TranslateImage returns the image that the host pulls for an image of the tenant. nil
	// changes none.
	TranslateImage func(image string) string
	// HostsImage is the image of the init container that writes the FQDN of a pod into its
	// /etc/hosts. Empty means that pods keep the file of the host's kubelet.
	HostsImage string
	// HostSchedulers are the names of host schedulers that pods may use.
	HostSchedulers []string
	// NodeSelector limits pods to the nodes of the host with these labels. Empty means all.
	NodeSelector map[string]string
	// QuotaScope puts the pod into the quota scope Terminating of the host. The control plane's
	// own pod is not in that scope. See [longestDeadline].
	QuotaScope bool
	// PassesLabel and PassesAnnotation report whether a key of the tenant keeps its name on the
	// host. nil passes none.
	PassesLabel, PassesAnnotation func(key string) bool
	// ResourceClaims specifies whether the host has the tenant's ResourceClaims.
	ResourceClaims bool
}

// PodInput is what the host copy of a pod depends on, in addition to the pod itself.
type PodInput struct {
	PodSettings

	// Cluster is the identity of the virtual cluster.
	Cluster Cluster
	// ServiceAccount is the host service account of the pod. The host mounts no token of it.
	ServiceAccount string
	// VirtualScheduler is set for a pod whose node the virtual scheduler assigns. No host
	// pod is built for it without a node, unless SeeksRoom is set.
	VirtualScheduler bool
	// SeeksRoom is set for a pod without a node whose host pod only signals to autoscalers of
	// the host that it needs one. No scheduler of the host binds it.
	SeeksRoom bool
	// Node is the assigned node. The host pod is pinned to it and gets none of the tenant's
	// scheduling constraints, which the virtual scheduler has applied. If Node is empty, the
	// host's scheduler applies them.
	Node string
	// Enforced has the fields that the operator sets in the host pod.
	Enforced Enforced
	// HostRules is the result of [HostRules]. Only a new host pod needs it.
	HostRules string
	// Isolation has the directions in which the tenant's NetworkPolicies isolate the pod.
	Isolation Isolation
	// LacksLinks is true if there are too many Services, so that a new host pod lacks the
	// environment variables of some.
	LacksLinks bool
	// Namespaces are the virtual namespaces with their labels. They are read only
	// if [NeedsNamespaces] returns true.
	Namespaces []corev1.Namespace
	// SelectsTopology is true if a selector of the tenant names the zone or region of pods. It is
	// read only if [LacksTopology] returns true.
	SelectsTopology bool
}

// Pod fills in the host copy of a virtual pod. A new host pod, which only has the identity of
// [Stamp], gets a complete spec. In an existing host pod, it only changes the mutable fields
// that the tenant has changed. Changes by the host's admission stay.
func Pod(in PodInput, virtual, host *corev1.Pod) error {
	syncPodMetadata(in, virtual, host)
	host.Labels[labels.Release] = in.Cluster.Name
	setFlagLabel(host.Labels, labels.IsolatedIngress, in.Isolation.Ingress)
	setFlagLabel(host.Labels, labels.IsolatedEgress, in.Isolation.Egress)
	if host.UID == "" {
		return newPod(in, virtual, host)
	}
	return updatePod(in, virtual, host)
}

// setFlagLabel sets a label to "true" if set is true, and removes it otherwise.
func setFlagLabel(labels map[string]string, key string, set bool) {
	if set {
		labels[key] = "true"
		return
	}
	delete(labels, key)
}

// setScheduler sets the scheduler of a host pod, unless that is the host's default.
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
	raiseGracePeriod(spec)
	renameReferences(in.Cluster, virtual.Namespace, spec)
	// The name of the token Secret must not be renamed, so this comes after renameReferences.
	rewriteProjectedSources(in.Cluster, virtual, spec)
	addServiceEnv(in, virtual, spec)
	if in.LacksLinks {
		host.Annotations[labels.ServiceLinks] = serviceLinksCut
	}
	rewriteHosts(in, virtual, spec)
	setPullPolicy(in, spec)
	translateImages(in, spec)
	limitNodes(in, virtual, spec, host.Annotations)
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

// limitNodes limits where a host pod may run, and records the limit in its annotations.
func limitNodes(in PodInput, virtual *corev1.Pod, spec *corev1.PodSpec, annotations map[string]string) {
	if in.Node != "" {
		pinToNode(in, spec)
		annotations[labels.Place] = in.Node
		return
	}
	rewriteAffinity(in, virtual, spec)
	if virtual.Spec.NodeName != "" {
		annotations[labels.LimitedTo] = virtual.Spec.NodeName
	}
}

// clearVirtualOnlyFields clears the fields that only have a meaning in the virtual cluster. The
// host sets its own values for some of them.
func clearVirtualOnlyFields(spec *corev1.PodSpec) {
	// The operator decides about priority and preemption on the host.
	spec.PriorityClassName = ""
	spec.Priority = nil
	spec.PreemptionPolicy = nil
	// The host computes it from its own runtime class.
	spec.Overhead = nil
	// Schedulers and eviction responders of the tenant do not run on the host.
	spec.SchedulerName = ""
	spec.EvictionResponders = nil
	spec.DeprecatedServiceAccount = ""
	// They can only be added to an existing pod, see [addDebugContainers].
	spec.EphemeralContainers = nil
	// A node that the tenant sets becomes a node affinity, so that the host's scheduler
	// handles the pod like any other.
	spec.NodeName = ""
	// The tenant's conditions stay in the virtual cluster, see [syncReadinessGate].
	if len(spec.ReadinessGates) > 0 {
		spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: labels.ReadinessGates}}
	}
}

// setPullPolicy sets the pull policy Always if the operator requests it. Otherwise a pod could
// use a private image that another pod has pulled to the node.
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

// translateImages replaces the images of containers and volumes with those that the host pulls.
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

const (
	// maxHostname is the maximum length of a short host name.
	maxHostname = 63
	// maxFQDN is the maximum length of a host name on Linux, which a whole one may have.
	maxFQDN = 64
)

// setHostname sets the host name that the pod would have in a cluster of its own: its virtual
// name, unless the tenant has set one.
func setHostname(in PodInput, virtual *corev1.Pod, spec *corev1.PodSpec) error {
	// On the host a subdomain would put the pod below the host's namespace.
	spec.Subdomain = ""
	if spec.HostNetwork || spec.HostnameOverride != nil {
		return nil
	}
	fqdn := virtual.Spec.SetHostnameAsFQDN != nil && *virtual.Spec.SetHostnameAsFQDN && virtual.Spec.Subdomain != ""
	spec.SetHostnameAsFQDN = nil
	if fqdn {
		full := hostnameFQDN(in, virtual, requestedHostname(virtual))
		if len(full) > maxFQDN {
			return &UnsupportedError{[]error{fmt.Errorf("spec.setHostnameAsFQDN: %q has %d characters, a host name has at most %d; use shorter names", full, len(full), maxFQDN)}}
		}
		spec.HostnameOverride = &full
		return nil
	}
	name := ShortHostname(virtual)
	if len(validation.IsDNS1123Label(name)) == 0 {
		spec.Hostname = name
	} else {
		// A pod's name may hold dots, a hostname may not.
		spec.HostnameOverride = &name
	}
	return nil
}

// requestedHostname returns the host name that the tenant has set, by default the pod's name.
func requestedHostname(virtual *corev1.Pod) string {
	return cmp.Or(virtual.Spec.Hostname, virtual.Name)
}

// ShortHostname returns the host name of a virtual pod, truncated as a kubelet does it.
func ShortHostname(virtual *corev1.Pod) string {
	name := requestedHostname(virtual)
	if len(name) > maxHostname {
		name = strings.TrimRight(name[:maxHostname], "-.")
	}
	return name
}

// hostnameFQDN returns the FQDN of a pod with a subdomain, for one of its host names.
func hostnameFQDN(in PodInput, virtual *corev1.Pod, name string) string {
	return strings.Join([]string{name, virtual.Spec.Subdomain, virtual.Namespace, "svc", in.ClusterDomain}, ".")
}

// keyOf returns the key of a name in a namespace.
func keyOf(namespace, name string) types.NamespacedName {
	return types.NamespacedName{Namespace: namespace, Name: name}
}

// eachContainer visits all containers of a pod: init, regular and ephemeral ones.
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

// isGeneratedAnnotation reports whether [syncDownward] generates an annotation of a host pod.
func isGeneratedAnnotation(key string) bool {
	return key == labels.DownwardLabels || key == labels.DownwardAnnotations || strings.HasPrefix(key, labels.TenantPrefix)
}
