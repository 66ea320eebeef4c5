package kinds

import (
	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/syncer/kinds/nodes"
)

// NodesName is the name of the kind of nodes.
const NodesName = "nodes"

func nodesRow() Row {
	return Row{
		Name:         NodesName,
		Doc:          "The host's nodes, all of them or a selection, with what a tenant adds to them.",
		Owner:        syncer.Host,
		Key:          "sync.fromHost.nodes.enabled",
		Enabled:      func(s v1alpha1.Sync) bool { return s.FromHost.Nodes.Enabled },
		Define:       func(o Options) syncer.Kind { return syncer.Define(NodesName, nodes.Real(o.nodes())) },
		ClusterRules: rule(read(), "", "nodes"),
		Further: []Further{{
			Key: "sync.fromHost.nodes.syncBackChanges", ClusterRules: rule([]string{"patch"}, "", "nodes"),
		}},
	}
}

func pseudoNodesRow() Row {
	return Row{
		Name:    "pseudonodes",
		Doc:     "Instead of the host's nodes: one made-up node for each that pods of the virtual cluster run on. Needs no cluster-wide right.",
		Owner:   syncer.Host,
		Key:     "sync.fromHost.nodes.enabled",
		KeyOff:  true,
		Enabled: func(s v1alpha1.Sync) bool { return !s.FromHost.Nodes.Enabled },
		Define:  func(o Options) syncer.Kind { return syncer.Define("pseudonodes", nodes.Pseudo(o.nodes())) },
		Rules:   rule(read(), "", "pods"),
	}
}

// nodes returns the options of the two kinds of nodes.
func (o Options) nodes() nodes.Options {
	return nodes.Options{
		Nodes: o.Sync.FromHost.Nodes, VirtualScheduler: o.VirtualScheduler, Usage: o.Usage, KubeletVersion: o.KubeletVersion,
	}
}
