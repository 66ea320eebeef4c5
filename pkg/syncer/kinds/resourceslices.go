package kinds

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apilabels "k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// bySliceNode is the field of the index of host slices by the nodes that they name.
const bySliceNode = "nodeNames"

// ResourceSlices copies the devices of the nodes that the tenant sees, and devices that belong to no
// single node. The virtual scheduler filters nodes by them, but never allocates devices.
func ResourceSlices(Options) syncer.Resource[*resourcev1.ResourceSlice, *resourcev1.ResourceSlice] {
	return syncer.Resource[*resourcev1.ResourceSlice, *resourcev1.ResourceSlice]{
		Owner:  syncer.Host,
		Names:  translate.Same,
		Origin: sameName[*resourcev1.ResourceSlice],
		Select: apilabels.Everything(),
		Indexes: []syncer.Index{{Side: syncer.Host, Object: &resourcev1.ResourceSlice{}, Field: bySliceNode, Values: func(o client.Object) []string {
			if slice, ok := o.(*resourcev1.ResourceSlice); ok {
				return sliceNodes(slice)
			}
			return nil
		}}},
		Want: func(s syncer.Scope, virtual, host *resourcev1.ResourceSlice) (bool, error) {
			if name := host.Spec.NodeName; name != nil {
				if shown, err := isNodeShown(s, *name); err != nil || !shown {
					return false, err
				}
			}
			return isOfOriginal(s, virtual, host)
		},
		Up:   fillVirtualSlice,
		Also: []syncer.Watch{{Side: syncer.Virtual, Object: &corev1.Node{}, StatusBlind: true, Keys: slicesOfNode}},
	}
}

// sliceNodes returns the nodes that a slice names, each once.
func sliceNodes(slice *resourcev1.ResourceSlice) []string {
	var names []string
	if slice.Spec.NodeName != nil {
		names = append(names, *slice.Spec.NodeName)
	}
	for i := range slice.Spec.Devices {
		if name := slice.Spec.Devices[i].NodeName; name != nil {
			names = append(names, *name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// fillVirtualSlice copies a slice without the devices of nodes that the tenant does not see.
func fillVirtualSlice(s syncer.Scope, host, virtual *resourcev1.ResourceSlice) error {
	copyMetadata(host, virtual)
	virtual.Spec = host.Spec
	hidden := map[string]bool{}
	for i := range host.Spec.Devices {
		if name := host.Spec.Devices[i].NodeName; name != nil {
			shown, err := isNodeShown(s, *name)
			if err != nil {
				return err
			}
			hidden[*name] = !shown
		}
	}
	virtual.Spec.Devices = slices.DeleteFunc(host.Spec.Devices, func(d resourcev1.Device) bool { return d.NodeName != nil && hidden[*d.NodeName] })
	return nil
}

// slicesOfNode returns the keys of the slices that name a node.
func slicesOfNode(s syncer.Scope, node client.Object) ([]types.NamespacedName, error) {
	var found resourcev1.ResourceSliceList
	if err := s.Host.List(s.Context, &found, client.MatchingFields{bySliceNode: node.GetName()}, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("cannot list resource slices of node %s: %w", node.GetName(), err)
	}
	return keysOf(found.Items, nil), nil
}
