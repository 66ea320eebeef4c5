package nodes

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apilabels "k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// Options are what the two kinds need. They do not change while the server runs.
type Options struct {
	// Nodes are the settings of sync.fromHost.nodes.
	Nodes v1alpha1.Nodes
	// VirtualScheduler specifies whether a scheduler of the virtual cluster picks
	// nodes, so that a tenant's cordons and taints count. Default: false.
	VirtualScheduler bool
	// Usage is subtracted from the allocatable resources of virtual nodes. Default:
	// nil, which shows those of the host.
	Usage Usage
	// Tolerations are those that each pod of the tenant gets. Nodes are shown without the
	// taints that they tolerate. Default: none.
	Tolerations []corev1.Toleration
	// KubeletVersion is the kubelet version of a pseudo node.
	KubeletVersion string
}

// Real returns the kind that shows the host's nodes in the virtual cluster. With
// selector.all it shows every node, with selector.labels those that have the labels.
// With neither it shows those that pods of this virtual cluster run on. A node of the
// host's control plane is shown only for such a pod, unless the settings show it.
//
// No controller of the virtual cluster watches the health of nodes, so they need no
// leases in kube-node-lease. The host's controller does it, and the conditions show
// the result.
func Real(o Options) syncer.Resource[*corev1.Node, *corev1.Node] {
	r := syncer.Resource[*corev1.Node, *corev1.Node]{
		Owner: syncer.Host,
		Names: translate.Same,
		Origin: func(_ syncer.Scope, host *corev1.Node) (types.NamespacedName, bool) {
			return types.NamespacedName{Name: host.Name}, true
		},
		Select: apilabels.Everything(),
		Trim:   func(host *corev1.Node) { trim(host, o.Nodes) },

		IsHeartbeat: isHeartbeat,
		Want: func(_ syncer.Scope, virtual, host *corev1.Node) (bool, error) {
			return canStay(o.Nodes, virtual, host), nil
		},
		Up: func(s syncer.Scope, host, virtual *corev1.Node) error {
			return fillReal(s, o, host, virtual)
		},
	}
	needsPod, keys := o.needsPod()
	if labels := o.Nodes.Selector.Labels; !o.Nodes.Selector.All && len(labels) > 0 {
		r.Select = apilabels.SelectorFromSet(labels)
		r.Unselected, keys = o.keepForPods, keysOfUnselected(keys)
	}
	if needsPod != nil {
		r.Want = func(s syncer.Scope, virtual, host *corev1.Node) (bool, error) {
			if !canStay(o.Nodes, virtual, host) || !needsPod(host) {
				return canStay(o.Nodes, virtual, host), nil
			}
			_, ok, err := podOn(s, host.Name)
			return ok, err
		}
	}
	if keys != nil {
		r.Indexes = []syncer.Index{HostPodsByNode()}
		r.Also = []syncer.Watch{{Side: syncer.Host, Object: &corev1.Pod{}, Keys: keys}}
	}
	return r
}

// keysFunc returns the keys of the virtual nodes that depend on a host pod.
type keysFunc func(s syncer.Scope, object client.Object) ([]types.NamespacedName, error)

// needsPod returns which host nodes are shown only while a pod of this virtual cluster runs
// there. It also returns the keys of those nodes for a pod, and nil if no node depends on
// pods.
func (o Options) needsPod() (func(host *corev1.Node) bool, keysFunc) {
	switch {
	case !o.Nodes.Selector.All && len(o.Nodes.Selector.Labels) == 0:
		return func(*corev1.Node) bool { return true }, nodeOfPod
	case o.Nodes.HideControlPlane:
		return o.isControlPlane, o.controlPlaneOfPod
	default:
		return nil, nil
	}
}

// ByNode is the field of the index that [HostPodsByNode] returns.
const ByNode = "spec.nodeName"

// HostPodsByNode returns the index of host pods by the node that they are bound to.
func HostPodsByNode() syncer.Index {
	return syncer.Index{Side: syncer.Host, Object: &corev1.Pod{}, Field: ByNode, Values: func(o client.Object) []string {
		if pod, ok := o.(*corev1.Pod); ok && pod.Spec.NodeName != "" {
			return []string{pod.Spec.NodeName}
		}
		return nil
	}}
}

// podOn returns a host pod of this virtual cluster that is bound to the node.
func podOn(s syncer.Scope, node string) (*corev1.Pod, bool, error) {
	var pods corev1.PodList
	err := s.Host.List(s.Context, &pods, client.InNamespace(s.Cluster.Namespace),
		client.MatchingFields{ByNode: node}, client.Limit(1), client.UnsafeDisableDeepCopy)
	if err != nil || len(pods.Items) == 0 {
		return nil, false, err
	}
	return &pods.Items[0], true, nil
}

// nodeOfPod returns the key of the virtual node that a host pod is bound to.
func nodeOfPod(_ syncer.Scope, o client.Object) ([]types.NamespacedName, error) {
	pod, ok := o.(*corev1.Pod)
	if !ok || pod.Spec.NodeName == "" {
		return nil, nil
	}
	return []types.NamespacedName{{Name: pod.Spec.NodeName}}, nil
}

// controlPlaneOfPod returns the key of the virtual node that a host pod is bound to, if its
// host node is one of the control plane. The start of a pod on another node costs no
// reconcile.
func (o Options) controlPlaneOfPod(s syncer.Scope, object client.Object) ([]types.NamespacedName, error) {
	keys, err := nodeOfPod(s, object)
	if err != nil || len(keys) == 0 {
		return nil, err
	}
	var host corev1.Node
	err = s.Host.Get(s.Context, keys[0], &host, client.UnsafeDisableDeepCopy)
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("cannot get host node %s: %w", keys[0].Name, err)
	case !o.isControlPlane(&host):
		return nil, nil
	default:
		return keys, nil
	}
}

// canStay reports whether a virtual node, if there is one, can be updated to show the host
// node. It cannot if it is the copy of an earlier node of that name. It cannot if it shows a
// field that is hidden now: the API server keeps both of them for the life of a node. A pseudo
// node can, with what the tenant has added to it.
func canStay(settings v1alpha1.Nodes, virtual, host *corev1.Node) bool {
	switch {
	case virtual == nil:
		return true
	case !translate.IsOfHostObject(virtual, host) && !isPseudo(virtual):
		return false
	case virtual.Spec.ProviderID != "" && !isShown(settings, v1alpha1.ShowProviderID):
		return false
	default:
		return virtual.Spec.PodCIDR == "" && len(virtual.Spec.PodCIDRs) == 0 || isShown(settings, v1alpha1.ShowPodCIDRs)
	}
}

// fillReal fills in a virtual node: the host's fields, and what the tenant added.
func fillReal(s syncer.Scope, o Options, host, virtual *corev1.Node) error {
	if err := overlay(s, host, virtual, o); err != nil {
		return err
	}
	visible := visibleSpec(host, o.Nodes)
	virtual.Spec.PodCIDR, virtual.Spec.PodCIDRs, virtual.Spec.ProviderID = visible.PodCIDR, visible.PodCIDRs, visible.ProviderID
	virtual.Spec.PodPreemptionPolicy = host.Spec.PodPreemptionPolicy
	status := visibleStatus(host, o.Nodes)
	subtractForeignUsage(&status, virtual.Status.Allocatable, o.Usage, host.Name)
	addTenantResources(&status, readRecord(virtual.Annotations).hidden)
	if changesStatus(&status, &virtual.Status) {
		virtual.Status = status
	}
	return nil
}
