package kinds

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/policy"
	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// With a virtual scheduler, a pod gets its host pod once it has an assigned node. That is the node that
// it is bound to, or a proposal. The host pod is pinned to that node, and the host's scheduler decides
// whether it fits. The host pod is deleted when another node is proposed, or when the pod becomes
// unschedulable.

// roomPause is how long a pod must be unschedulable before its host pod signals to autoscalers that a
// node is missing. In that time the virtual scheduler retries.
const roomPause = 10 * time.Second

// load reads the state of a pod once per reconcile, because a proposal in memory may change at any
// time.
func (p *pods) load(s syncer.Scope, virtual, host *corev1.Pod) (any, error) {
	in := translate.PodProgressInput{Virtual: virtual, Host: host}
	in.VirtualScheduler = virtual != nil && p.options.usesVirtualScheduler(virtual)
	if in.VirtualScheduler && p.options.Proposals != nil {
		in.MemoryProposal = p.options.Proposals.Proposed(virtual.UID)
	}
	in.SeeksRoom = in.VirtualScheduler && hasNoRoom(s, virtual)
	in.OtherRules = p.hasOtherRules(virtual, host)
	var err error
	if virtual != nil && host == nil {
		if in.HasRun, err = p.hasRunUnseen(s, virtual); err != nil {
			return nil, err
		}
	}
	progress := translate.ReadPodProgress(in)
	switch progress.State { //nolint:exhaustive // the others do not depend on it
	case translate.PodProposedWritten, translate.PodProposedInMemory, translate.PodRefused:
	default:
		return progress, nil
	}
	if in.Leaving, err = p.isPodLeaving(s, progress.Node); err != nil || !in.Leaving {
		return progress, err
	}
	s.RequeueAfter(leavingPause)
	return translate.ReadPodProgress(in), nil
}

// hasOtherRules reports whether a host pod without a node was created under other rules than the current
// ones. These are settings of the operator and, for a gated pod, the tenant's node affinity.
func (p *pods) hasOtherRules(virtual, host *corev1.Pod) bool {
	return virtual != nil && host != nil && host.Spec.NodeName == "" &&
		(host.Annotations[labels.HostRules] != p.hostRules(virtual) || translate.IsGateOutdated(virtual, host, p.settings.NodeSelector))
}

// hostRules returns a digest of the settings that decide to which node a host pod may go.
func (p *pods) hostRules(virtual *corev1.Pod) string {
	return translate.HostRules(virtual, p.settings.NodeSelector, p.settings.HostSchedulers, enforcedInAll(p.options.Sync.ToHost.Pods))
}

// hasNoRoom reports whether a pod has been unschedulable for roomPause. Before that, it requests a
// reconcile for that time.
func hasNoRoom(s syncer.Scope, virtual *corev1.Pod) bool {
	since, ok := translate.UnschedulableSince(virtual)
	if !ok || virtual.DeletionTimestamp != nil {
		return false
	}
	wait := since.Add(roomPause).Sub(s.Now)
	if wait > 0 {
		s.RequeueAfter(wait)
	}
	return wait <= 0
}

// progress returns the state of the pod that load has read.
func progress(s syncer.Scope) translate.PodProgress { return syncer.Loaded[translate.PodProgress](s) }

// shouldCopy reports whether the pod should have a host pod. A new host pod waits for the copies of what
// it needs: service links, its service account, claims, ConfigMaps and Secrets. A pod that has lost its
// host pod waits for none of them: the engine ends it when a host pod is wanted.
func (p *pods) shouldCopy(s syncer.Scope, virtual, host *corev1.Pod) (bool, error) {
	current := progress(s)
	isLost := current.State == translate.PodEvicted && !syncer.IsRemoved(virtual)
	if !current.NeedsHostPod || host != nil || isLost {
		return current.NeedsHostPod, nil
	}
	for _, awaits := range []func(syncer.Scope, *corev1.Pod) (bool, error){
		p.awaitsLinks, p.awaitsAccount, p.awaitsResourceClaims, p.awaitsVolumeClaims, p.awaitsReferences,
	} {
		if waits, err := awaits(s, virtual); err != nil || waits {
			return false, err
		}
	}
	return true, nil
}

// started reports whether a pod was bound on the host and may have run. host is its host pod, or the
// last known state of that.
func (p *pods) started(s syncer.Scope, virtual, host *corev1.Pod) bool {
	return progress(s).State == translate.PodEvicted || translate.HasStarted(virtual, host, p.options.usesVirtualScheduler(virtual))
}

// fillVirtual copies the status and, if the pod is not bound, its node. It records Events about
// what has no effect on the host.
func (p *pods) fillVirtual(s syncer.Scope, host, virtual *corev1.Pod) error {
	scheduler := p.options.usesVirtualScheduler(virtual)
	if progress(s).State == translate.PodRejected || translate.RejectFromNode(virtual, host, scheduler) {
		return nil
	}
	p.fillStatus(s, host, virtual)
	p.reportViolations(s, virtual)
	reportOtherNode(s, virtual, host)
	if foreign := translate.ForeignDebugContainers(virtual, host); len(foreign) > 0 {
		s.RecordEvent("DebugContainersNotStarted", "The host pod has other containers under these names: "+strings.Join(foreign, ", ")+". Use names of your own.")
	}
	p.reportNotPassed(s, virtual, host)
	return copyNode(s, host, virtual)
}

// fillStatus copies the status. The host pod has all that the tenant requests without the tolerations that
// the policy keeps from the host. Otherwise observedGeneration would stay behind for ever.
func (p *pods) fillStatus(s syncer.Scope, host, virtual *corev1.Pod) {
	if p.options.PodPolicy != nil {
		all := virtual.Spec.Tolerations
		virtual.Spec.Tolerations = p.options.PodPolicy.PassTolerations(all)
		defer func() { virtual.Spec.Tolerations = all }()
	}
	if p.options.usesVirtualScheduler(virtual) {
		translate.ProposedPodStatus(s.Cluster, progress(s).State, host, virtual)
		return
	}
	translate.PodStatus(s.Cluster, host, virtual)
}

// reportOtherNode records an Event on a pod that the host runs on another node than the virtual pod names. A
// host pod that was created for that node has lost its limit. Otherwise the tenant has bound
// the pod at the moment in which the host did.
func reportOtherNode(s syncer.Scope, virtual, host *corev1.Pod) {
	wanted, node := virtual.Spec.NodeName, host.Spec.NodeName
	if wanted == "" || node == "" || wanted == node {
		return
	}
	reason := "The host had picked that before the pod was bound. Create the pod again if it must run on its node."
	if translate.IsCreatedFor(host, wanted) {
		reason = "Admission of the host has removed what limits the pod to its node. Ask the operator of the host cluster to exempt these pods."
	}
	s.RecordEvent("OtherNodeOnHost", "The host runs the pod on another node than spec.nodeName. "+reason)
}

// reportViolations records an Event on a running pod that violates the policy because it is older. It
// keeps running, but could not be created again, which the tenant should know before it ends.
func (p *pods) reportViolations(s syncer.Scope, virtual *corev1.Pod) {
	if p.options.PodPolicy == nil || virtual.DeletionTimestamp != nil || virtual.Status.Phase != corev1.PodRunning {
		return
	}
	class, err := p.runtimeClass(s, virtual)
	if err != nil {
		return // The next reconcile tries again.
	}
	checked := policy.WithoutClass(virtual, class)
	if violations := p.options.PodPolicy.Evaluate(&checked.ObjectMeta, &checked.Spec); len(violations) > 0 {
		s.RecordEvent("PolicyViolated", "The pod is older than the policy. It stays, and cannot be created again: "+policy.ShortMessage(violations))
	}
}

// reportNotPassed records Events about fields of a pod that have no effect on the host. It does so when
// the host has bound the pod and the virtual pod is not bound yet, which is once per pod.
func (p *pods) reportNotPassed(s syncer.Scope, virtual, host *corev1.Pod) {
	if virtual.Spec.NodeName != "" || host.Spec.NodeName == "" {
		return
	}
	settings := p.options.Sync.ToHost.Pods
	if left := translate.ReadByHosts(virtual, p.settings.PassesAnnotation); len(left) > 0 {
		s.RecordEvent("AnnotationsNotPassed", "The host does not see these annotations: "+strings.Join(left, ", ")+
			". The operator can pass them with sync.toHost.pods.annotations.allow.")
	}
	if dropped := translate.DroppedByHost(virtual, host); len(dropped) > 0 {
		s.RecordEvent("FieldsNotOnHost", "The pod runs without these fields: "+strings.Join(dropped, ", ")+
			". The host does not know them, as an older version of Kubernetes, or has them switched off.")
	}
	if translate.LacksServiceLinks(host) {
		s.RecordEvent("ServiceLinksIncomplete", "The namespace has too many Services for the environment of the pod, which lacks variables of them. "+
			"Set enableServiceLinks to false, and look the Services up by DNS.")
	}
	sameClass := host.Spec.PriorityClassName == virtual.Spec.PriorityClassName
	if !sameClass && !p.options.usesVirtualScheduler(virtual) && enforcedInAll(settings).IgnoresPriority(virtual) {
		s.RecordEvent("PriorityNotPassed", fmt.Sprintf("The priority %d of the pod does not count on the host. "+
			"The operator can map priorities with sync.toHost.pods.priorityClasses.", *virtual.Spec.Priority))
	}
	if !p.options.usesVirtualScheduler(virtual) && translate.IgnoresPreemptionPolicy(virtual, host) {
		s.RecordEvent("PreemptionPolicyNotPassed", "The preemptionPolicy Never of the pod does not count on the host: the pod can preempt others. "+
			"The operator can give it a priority class of the host with that policy.")
	}
}

// recordRefused shows in a virtual pod why the host refuses its copy. If the refused copy was pinned to
// a proposal, the virtual scheduler then picks another node.
func (p *pods) recordRefused(s syncer.Scope, virtual *corev1.Pod, reason string) {
	condition := corev1.PodCondition{Reason: corev1.PodReasonUnschedulable, Message: reason, LastTransitionTime: metav1.NewTime(s.Now)}
	switch {
	case progress(s).Proposal != "":
		if p.leaving.hasLeftRecently(progress(s).Node, s.Now) {
			return // It may be a quota that still counts that pod.
		}
		translate.ClearProposal(virtual, condition)
	case !p.options.usesVirtualScheduler(virtual):
		translate.SetHostRefused(virtual, condition)
	}
}

// dropUnknownResources removes extended resources from a host pod that neither its node nor a device
// class has. The tenant has added them to the virtual node, and the virtual scheduler has counted
// them. Resources that the host pod already has stay, because they are immutable.
func (p *pods) dropUnknownResources(s syncer.Scope, virtual, host *corev1.Pod, before []extendedList) error {
	lists := listsWithExtended(host)
	if !p.options.usesVirtualScheduler(virtual) || len(lists) == 0 {
		return nil
	}
	nodeName := progress(s).Node
	if nodeName == "" {
		return nil // It is never bound, see [translate.PodInput.SeeksRoom].
	}
	node := &corev1.Node{}
	if found, err := lookUp(s, syncer.Host, client.ObjectKey{Name: nodeName}, node); err != nil || !found {
		return err
	}
	devices, err := p.deviceResources(s)
	if err != nil {
		return err
	}
	for _, list := range lists {
		maps.DeleteFunc(list.resources, func(name corev1.ResourceName, _ resource.Quantity) bool {
			_, ok := node.Status.Capacity[name]
			return translate.IsExtendedResource(name) && !ok && !devices[name] && !hasDevicesFor(host, name) && !hadBefore(before, list.container, name)
		})
	}
	return nil
}

// hadBefore reports whether a container has had a resource before.
func hadBefore(before []extendedList, container string, name corev1.ResourceName) bool {
	return slices.ContainsFunc(before, func(l extendedList) bool { return l.container == container && slices.Contains(l.extended, name) })
}

// hasDevicesFor reports whether the host has allocated devices for an extended resource of a pod. The
// device class may have been deleted since.
func hasDevicesFor(host *corev1.Pod, name corev1.ResourceName) bool {
	status := host.Status.ExtendedResourceClaimStatus
	return status != nil && slices.ContainsFunc(status.RequestMappings, func(r corev1.ContainerExtendedResourceRequest) bool {
		return r.ResourceName == string(name)
	})
}

// extendedList is a list of a container's requests or limits that has extended resources.
type extendedList struct {
	container string
	resources corev1.ResourceList
	extended  []corev1.ResourceName // what it had when it was read
}

// listsWithExtended returns the lists of a pod that have extended resources.
func listsWithExtended(pod *corev1.Pod) []extendedList {
	var lists []extendedList
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			for _, list := range []corev1.ResourceList{containers[i].Resources.Requests, containers[i].Resources.Limits} {
				var extended []corev1.ResourceName
				for name := range list {
					if translate.IsExtendedResource(name) {
						extended = append(extended, name)
					}
				}
				if len(extended) > 0 {
					lists = append(lists, extendedList{containers[i].Name, list, extended})
				}
			}
		}
	}
	return lists
}
