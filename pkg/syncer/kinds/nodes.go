package kinds

import (
	corev1 "k8s.io/api/core/v1"
	apilabels "k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

func nodesRow() Row {
	return Row{
		Name:         NodesName,
		Doc:          "The host's nodes, all of them or a selection, with what a tenant adds to them.",
		Owner:        syncer.Host,
		Key:          "sync.fromHost.nodes.enabled",
		Enabled:      func(s v1alpha1.Sync) bool { return s.FromHost.Nodes.Enabled },
		Define:       func(o Options) syncer.Kind { return syncer.Define(NodesName, Nodes(o)) },
		ClusterRules: rule(read(), "", "nodes"),
		Further:      []Further{{Key: syncBackKey, ClusterRules: rule([]string{"patch"}, "", "nodes")}},
	}
}

// Nodes shows the host's nodes in the virtual cluster. With selector.all every
// node is shown, with selector.labels those that bear the labels, and with neither
// those that pods of this virtual cluster run on.
//
// There is no controller in the virtual cluster that watches over the health of
// nodes, and so no need for the leases in kube-node-lease: the host's controller
// does it, and its verdict comes along in the conditions.
func Nodes(o Options) syncer.Resource[*corev1.Node, *corev1.Node] {
	nodes := o.Sync.FromHost.Nodes
	r := syncer.Resource[*corev1.Node, *corev1.Node]{
		Owner:  syncer.Host,
		Names:  translate.Same,
		Origin: sameName[*corev1.Node],
		Select: apilabels.Everything(),
		Trim:   func(host *corev1.Node) { trimNode(host, nodes.ClearImageStatus) },
		Want: func(_ syncer.Scope, virtual, host *corev1.Node) (bool, error) {
			return sameHost(virtual, host), nil
		},
		Up: func(s syncer.Scope, host, virtual *corev1.Node) error {
			return nodeUp(s, o, host, virtual)
		},
	}
	switch {
	case nodes.Selector.All:
	case len(nodes.Selector.Labels) > 0:
		r.Select = apilabels.SelectorFromSet(nodes.Selector.Labels)
	default:
		r.Want = func(s syncer.Scope, virtual, host *corev1.Node) (bool, error) {
			if !sameHost(virtual, host) {
				return false, nil
			}
			_, used, err := podOn(s, host.Name)
			return used, err
		}
		r.Indexes = []syncer.Index{hostPodsByNode()}
		r.Also = []syncer.Watch{{Side: syncer.Host, Object: &corev1.Pod{}, Keys: nodeOfPod}}
	}
	return r
}

// byNode is the index of host pods by the node that they are bound to.
const byNode = "spec.nodeName"

func hostPodsByNode() syncer.Index {
	return syncer.Index{Side: syncer.Host, Object: &corev1.Pod{}, Field: byNode, Values: func(o client.Object) []string {
		if pod, ok := o.(*corev1.Pod); ok && pod.Spec.NodeName != "" {
			return []string{pod.Spec.NodeName}
		}
		return nil
	}}
}

// podOn is a host pod of this virtual cluster that is bound to the node.
func podOn(s syncer.Scope, node string) (*corev1.Pod, bool, error) {
	var pods corev1.PodList
	err := s.Host.List(s.Context, &pods, client.InNamespace(s.Cluster.Namespace),
		client.MatchingFields{byNode: node}, client.Limit(1), client.UnsafeDisableDeepCopy)
	if err != nil || len(pods.Items) == 0 {
		return nil, false, err
	}
	return &pods.Items[0], true, nil
}

// nodeOfPod is the virtual node that a host pod is bound to.
func nodeOfPod(_ syncer.Scope, o client.Object) ([]types.NamespacedName, error) {
	pod, ok := o.(*corev1.Pod)
	if !ok || pod.Spec.NodeName == "" {
		return nil, nil
	}
	return []types.NamespacedName{{Name: pod.Spec.NodeName}}, nil
}

// trimNode drops what a tenant is not shown, so that no cache holds it.
func trimNode(host *corev1.Node, images bool) {
	if images {
		host.Status.Images = nil
	}
	host.Status.VolumesInUse, host.Status.VolumesAttached, host.Status.Config = nil, nil, nil
}

// nodeUp is the virtual node: the host's, beside which stays what a tenant added.
func nodeUp(s syncer.Scope, o Options, host, virtual *corev1.Node) error {
	if err := overlay(s, host, virtual, o.VirtualScheduler); err != nil {
		return err
	}
	virtual.Spec.PodCIDR, virtual.Spec.PodCIDRs = host.Spec.PodCIDR, host.Spec.PodCIDRs
	virtual.Spec.ProviderID = host.Spec.ProviderID
	virtual.Spec.PodPreemptionPolicy = host.Spec.PodPreemptionPolicy
	status := nodeStatus(host, o.Sync.FromHost.Nodes.ClearImageStatus)
	offer(&status, virtual.Status.Allocatable, o.Usage, host.Name)
	withResources(&status, readRecord(virtual.Annotations).aside)
	if changesNode(&status, &virtual.Status) {
		virtual.Status = status
	}
	return nil
}

// nodeStatus is the part of a host node's status that a tenant may see. What
// identifies the machine is left out, and what is attached to it: it is other
// tenants' too.
func nodeStatus(host *corev1.Node, clearImages bool) corev1.NodeStatus {
	status := host.Status
	if clearImages {
		status.Images = nil
	}
	status.VolumesInUse, status.VolumesAttached, status.Config = nil, nil, nil
	status.NodeInfo.MachineID, status.NodeInfo.SystemUUID, status.NodeInfo.BootID = "", "", ""
	return status
}
