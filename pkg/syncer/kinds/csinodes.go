package kinds

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// migratedPlugins is the annotation with the in-tree plugins of a node that CSI drivers serve.
const migratedPlugins = "storage.alpha.kubernetes.io/migrated-plugins"

// CSINodes copies the CSI drivers of the nodes that the tenant sees, with their volume limits, for
// the virtual scheduler. The node IDs of drivers stay on the host, because they identify its
// machines.
func CSINodes(Options) syncer.Resource[*storagev1.CSINode, *storagev1.CSINode] {
	r := sameNamed(func(host, virtual *storagev1.CSINode) {
		virtual.Spec = host.Spec
		for i := range virtual.Spec.Drivers {
			virtual.Spec.Drivers[i].NodeID = host.Name
		}
	}, migratedPlugins)
	fill := r.Up
	r.Up = func(s syncer.Scope, host, virtual *storagev1.CSINode) error {
		if err := fill(s, host, virtual); err != nil {
			return err
		}
		_, err := translate.RecordKeys(virtual, topologyField, topologyKeys(host))
		return err
	}
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

// hasOtherTopology reports whether a driver has registered again with other topology keys. They are
// immutable while the driver is in the list, so the copy must be created again.
//
// The copy records the keys of the host. Its own keys may differ because of a patch of the operator.
func hasOtherTopology(virtual, host *storagev1.CSINode) bool {
	before, ok := translate.DecodeLastApplied(virtual.Annotations[labels.LastApplied])[topologyField]
	if !ok {
		before = topologyKeys(virtual) // The copy is of an earlier release.
	}
	for driver, keys := range topologyKeys(host) {
		if known, ok := before[driver]; ok && known != keys {
			return true
		}
	}
	return false
}

// topologyField is the name under which a copy records the topology keys of the host.
const topologyField = "topologyKeys"

// topologyKeys returns the digests of the topology keys of each driver.
func topologyKeys(node *storagev1.CSINode) translate.LastApplied {
	keys := map[string]string{}
	for _, driver := range node.Spec.Drivers {
		keys[driver.Name] = strings.Join(driver.TopologyKeys, ",")
	}
	return translate.DigestValues(keys)
}

// csiNodeOf returns the key of the CSINode of a node.
func csiNodeOf(_ syncer.Scope, node client.Object) ([]types.NamespacedName, error) {
	return []types.NamespacedName{{Name: node.GetName()}}, nil
}
