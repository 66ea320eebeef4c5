package kinds

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// With a virtual scheduler, a pod gets its host copy once it has an assigned node. That is
// the node that it is bound to, or a proposal. The copy is pinned to that node, and the host decides
// whether the pod gets there. The copy is deleted when another node is proposed, or when
// the pod is unschedulable.

// assignment is the node of a pod, as it was read at the start of a reconcile. A proposal
// in memory may end at any time: nothing reads it twice.
type assignment struct {
	// proposal is the node that the virtual scheduler proposes for a pod without a node,
	// written into the pod or in memory. Empty if there is none.
	proposal string
	// node is the node that the host copy is pinned to. Empty if the host chooses one, or
	// as long as none is assigned.
	node string
}

// load reads the assignment of a pod. Once there is a host pod, its pin is the proposal,
// also for a server that has started since.
func (p pods) load(_ syncer.Scope, virtual, host *corev1.Pod) (any, error) {
	var a assignment
	if virtual == nil || !p.options.usesVirtualScheduler(virtual) {
		return a, nil
	}
	if virtual.Spec.NodeName != "" {
		a.node = virtual.Spec.NodeName
		return a, nil
	}
	if translate.IsUnschedulable(virtual) {
		return a, nil
	}
	a.proposal = translate.Proposed(virtual)
	if a.proposal == "" && p.options.Proposals != nil {
		a.proposal = p.options.Proposals.Proposed(virtual.UID)
	}
	if a.node = a.proposal; a.node == "" && host != nil {
		a.node = translate.PlaceOf(host)
	}
	return a, nil
}

// shouldCopy reports whether the pod needs a host copy. With a virtual scheduler, it needs
// an assigned node first.
func (p pods) shouldCopy(s syncer.Scope, virtual, host *corev1.Pod) (bool, error) {
	wanted := translate.ShouldCopyPod(virtual, host != nil)
	if !wanted || host != nil && (host.Spec.NodeName != "" || translate.IsFinished(host)) {
		return wanted, nil
	}
	pin := ""
	if host != nil {
		pin = translate.PlaceOf(host)
	}
	if !p.options.usesVirtualScheduler(virtual) {
		return pin == "", nil // A pinned copy was created under other settings.
	}
	node := syncer.Loaded[assignment](s).node
	return node != "" && (host == nil || pin == node), nil
}

// started reports whether a pod was on a node of the host. host is its copy, or the last
// state of it; a copy that was bound may have run. With a virtual scheduler a pod may be
// bound in the virtual cluster before it has a copy, so only a kubelet's status counts.
func (p pods) started(virtual, host *corev1.Pod) bool {
	if host != nil && host.Spec.NodeName != "" {
		return true
	}
	if p.options.usesVirtualScheduler(virtual) {
		return virtual.Status.StartTime != nil
	}
	return hasStarted(virtual)
}

// fillVirtual copies the status, and the node of a pod that has none.
func (p pods) fillVirtual(s syncer.Scope, host, virtual *corev1.Pod) error {
	if p.options.usesVirtualScheduler(virtual) {
		proposed := ""
		if virtual.Spec.NodeName == "" {
			proposed = syncer.Loaded[assignment](s).node
		}
		translate.PlaceStatus(s.Cluster, proposed, host, virtual)
	} else {
		translate.PodStatus(s.Cluster, host, virtual)
	}
	return copyNode(s, host, virtual)
}

// clearProposal removes the proposal from a pod that the host refuses. The scheduler
// retries after a while.
func (p pods) clearProposal(s syncer.Scope, virtual *corev1.Pod, reason string) {
	if syncer.Loaded[assignment](s).proposal == "" {
		return
	}
	translate.ClearProposal(virtual, corev1.PodCondition{
		Reason: corev1.PodReasonUnschedulable, Message: reason, LastTransitionTime: metav1.NewTime(s.Now),
	})
}

// dropUnknownResources drops requests of a host pod for resources that its node does not
// have. The tenant added them to the virtual node, where the scheduler has counted them.
func (p pods) dropUnknownResources(s syncer.Scope, virtual, host *corev1.Pod) error {
	lists := listsWithExtended(host)
	if !p.options.usesVirtualScheduler(virtual) || len(lists) == 0 {
		return nil
	}
	node := &corev1.Node{}
	name := syncer.Loaded[assignment](s).node
	err := s.Host.Get(s.Context, client.ObjectKey{Name: name}, node)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot get host node %s: %w", name, err)
	}
	for _, list := range lists {
		maps.DeleteFunc(list, func(name corev1.ResourceName, _ resource.Quantity) bool {
			_, ok := node.Status.Capacity[name]
			return translate.IsExtendedResource(name) && !ok
		})
	}
	return nil
}

// listsWithExtended returns the lists of a pod that have extended resources.
func listsWithExtended(pod *corev1.Pod) []corev1.ResourceList {
	var lists []corev1.ResourceList
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			for _, list := range []corev1.ResourceList{containers[i].Resources.Requests, containers[i].Resources.Limits} {
				if slices.ContainsFunc(slices.Collect(maps.Keys(list)), translate.IsExtendedResource) {
					lists = append(lists, list)
				}
			}
		}
	}
	return lists
}
