package kinds

import (
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
		return isOfOriginal(s, virtual, host)
	}
	r.Also = []syncer.Watch{{Side: syncer.Virtual, Object: &corev1.Node{}, StatusBlind: true, Keys: csiNodeOf}}
	return r
}

// csiNodeOf returns the key of the CSINode of a node.
func csiNodeOf(_ syncer.Scope, node client.Object) ([]types.NamespacedName, error) {
	return []types.NamespacedName{{Name: node.GetName()}}, nil
}
