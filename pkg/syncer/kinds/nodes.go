package kinds

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/syncer/kinds/nodes"
)

// RealNodes shows the host's nodes.
func RealNodes(o Options) syncer.Resource[*corev1.Node, *corev1.Node] {
	return nodes.Real(o.nodes())
}

// PseudoNodes shows a node for each host node that runs the tenant's pods.
func PseudoNodes(o Options) syncer.Resource[*corev1.Node, *corev1.Pod] {
	return nodes.Pseudo(o.nodes())
}

// nodes returns the options of both.
func (o Options) nodes() nodes.Options {
	return nodes.Options{
		Nodes: o.Sync.FromHost.Nodes, VirtualScheduler: o.VirtualScheduler, Usage: o.Usage, KubeletVersion: o.KubeletVersion,
		Tolerations: o.Sync.ToHost.Pods.Tolerations(),
	}
}
