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

// With a virtual scheduler, a pod gets its host copy when a node is known for it:
// one that the virtual scheduler proposes, or one that the tenant or a scheduler of
// theirs has bound it to. The copy is held to that node, and the host decides
// whether it gets there. It is withdrawn when another node is proposed, or when
// the pod bears a reason why it has none.

// want is [translate.ShouldCopyPod], with a virtual scheduler only where a node is known.
func (p pods) want(_ syncer.Scope, virtual, host *corev1.Pod) (bool, error) {
	wanted := translate.ShouldCopyPod(virtual, host != nil)
	if !wanted || host != nil && (host.Spec.NodeName != "" || translate.IsFinished(host)) {
		return wanted, nil
	}
	held := ""
	if host != nil {
		held = translate.PlaceOf(host)
	}
	if !p.options.usesVirtualScheduler(virtual) {
		// A copy that is held to a node was made under other settings.
		return held == "", nil
	}
	place := p.assignedNode(virtual, host)
	return place != "" && (host == nil || held == place), nil
}

// assignedNode is the node that a pod is to be held to, empty if none is known yet. A
// proposal stands in the virtual pod, or it is on its way in memory; once there is
// a host pod, that one says what was proposed, also to a server that has started
// since.
func (p pods) assignedNode(virtual, host *corev1.Pod) string {
	if virtual.Spec.NodeName != "" {
		return virtual.Spec.NodeName
	}
	return p.proposed(virtual, host)
}

// proposed is the node that the host is asked about for a pod without one.
func (p pods) proposed(virtual, host *corev1.Pod) string {
	if virtual.Spec.NodeName != "" || translate.TurnedAway(virtual) {
		return ""
	}
	if node := translate.Proposed(virtual); node != "" {
		return node
	}
	if p.options.Proposals != nil {
		if node := p.options.Proposals.Proposed(virtual.UID); node != "" {
			return node
		}
	}
	if host != nil {
		return translate.PlaceOf(host)
	}
	return ""
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
	return podStarted(virtual)
}

// up brings back the status and the node.
func (p pods) up(s syncer.Scope, host, virtual *corev1.Pod) error {
	if p.options.usesVirtualScheduler(virtual) {
		translate.PlaceStatus(s.Cluster, p.proposed(virtual, host), host, virtual)
	} else {
		translate.PodStatus(s.Cluster, host, virtual)
	}
	return bindUp(s, host, virtual)
}

// refusedPod takes the proposed node off a pod that the host refuses to have. The
// scheduler tries again, after a while.
func (p pods) refusedPod(s syncer.Scope, virtual *corev1.Pod, reason string) {
	if !p.options.usesVirtualScheduler(virtual) || p.proposed(virtual, nil) == "" {
		return
	}
	translate.Refuse(virtual, corev1.PodCondition{
		Reason: corev1.PodReasonUnschedulable, Message: reason, LastTransitionTime: metav1.NewTime(s.Now),
	})
}

// dropUnknownResources drops from a host pod what it asks of resources that its node does not
// have: the tenant added them to the virtual node, where they have been counted.
func (p pods) dropUnknownResources(s syncer.Scope, virtual, host *corev1.Pod) error {
	asked := extendedResources(host)
	if !p.options.usesVirtualScheduler(virtual) || len(asked) == 0 {
		return nil
	}
	node := &corev1.Node{}
	place := p.assignedNode(virtual, host)
	err := s.Host.Get(s.Context, client.ObjectKey{Name: place}, node)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot look up what host node %s has: %w", place, err)
	}
	for _, list := range asked {
		maps.DeleteFunc(list, func(name corev1.ResourceName, _ resource.Quantity) bool {
			_, has := node.Status.Capacity[name]
			return translate.IsExtendedResource(name) && !has
		})
	}
	return nil
}

// extendedResources are the lists of a pod that ask for extended resources.
func extendedResources(pod *corev1.Pod) []corev1.ResourceList {
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
