package kinds

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/syncer"
)

// migratedPlugins is the annotation with the in-tree plugins of a node that CSI drivers serve.
const migratedPlugins = "storage.alpha.kubernetes.io/migrated-plugins"

// CSINodes shows which CSI drivers each node has that the tenant sees, and how many volumes
// each of them takes. The virtual scheduler counts by it. The names that drivers give to
// nodes stay on the host, as they tell which machines those are.
func CSINodes(Options) syncer.Resource[*storagev1.CSINode, *storagev1.CSINode] {
	r := sameNamed(func(host, virtual *storagev1.CSINode) {
		virtual.Spec = host.Spec
		for i := range virtual.Spec.Drivers {
			virtual.Spec.Drivers[i].NodeID = host.Name
		}
	}, migratedPlugins)
	r.Want = func(s syncer.Scope, virtual, host *storagev1.CSINode) (bool, error) {
		if shown, err := isNodeShown(s, host.Name); err != nil || !shown {
			return false, err
		}
		if original, err := isOfOriginal(s, virtual, host); err != nil || !original {
			return false, err
		}
		return virtual == nil || !hasOtherTopology(virtual, host), nil
	}
	r.Also = []syncer.Watch{{Side: syncer.Virtual, Object: &corev1.Node{}, StatusBlind: true, Keys: csiNodeOf}}
	return r
}

// hasOtherTopology reports whether a driver has registered again with other topology keys. On
// the host it was gone in between, which the copy may have missed. The API server lets no
// driver change them, so the copy is created again.
func hasOtherTopology(virtual, host *storagev1.CSINode) bool {
	for i := range virtual.Spec.Drivers {
		before := &virtual.Spec.Drivers[i]
		j := slices.IndexFunc(host.Spec.Drivers, func(d storagev1.CSINodeDriver) bool { return d.Name == before.Name })
		if j >= 0 && !slices.Equal(before.TopologyKeys, host.Spec.Drivers[j].TopologyKeys) {
			return true
		}
	}
	return false
}

// csiNodeOf returns the key of the CSINode of a node.
func csiNodeOf(_ syncer.Scope, node client.Object) ([]types.NamespacedName, error) {
	return []types.NamespacedName{{Name: node.GetName()}}, nil
}
