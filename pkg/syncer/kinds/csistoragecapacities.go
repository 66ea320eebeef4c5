package kinds

import (
	"fmt"

	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apilabels "k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// The fields of the indexes of host capacities.
const (
	byVirtualName  = "virtualName"
	byStorageClass = "storageClassName"
)

// CSIStorageCapacities copies the capacities of the storage classes that the tenant sees. Their
// originals are in the namespaces of the drivers. All copies are in kube-system, under hashed
// names.
func CSIStorageCapacities(Options) syncer.Resource[*storagev1.CSIStorageCapacity, *storagev1.CSIStorageCapacity] {
	index := func(field string, values func(*storagev1.CSIStorageCapacity) string) syncer.Index {
		return syncer.Index{Side: syncer.Host, Object: &storagev1.CSIStorageCapacity{}, Field: field, Values: func(o client.Object) []string {
			if capacity, ok := o.(*storagev1.CSIStorageCapacity); ok {
				return []string{values(capacity)}
			}
			return nil
		}}
	}
	return syncer.Resource[*storagev1.CSIStorageCapacity, *storagev1.CSIStorageCapacity]{
		Owner: syncer.Host,
		Names: translate.Same, // Not used, because there is a FindOriginal.
		Origin: func(_ syncer.Scope, host *storagev1.CSIStorageCapacity) (types.NamespacedName, bool) {
			return types.NamespacedName{Namespace: metav1.NamespaceSystem, Name: virtualCapacity(host)}, true
		},
		FindOriginal: originalOfCapacity,
		Select:       apilabels.Everything(),
		Places:       []syncer.Place{{Namespace: syncer.EveryNamespace}},
		Indexes: []syncer.Index{
			index(byVirtualName, virtualCapacity),
			index(byStorageClass, func(c *storagev1.CSIStorageCapacity) string { return c.StorageClassName }),
		},
		Want: showsClassOfCapacity,
		Up: func(_ syncer.Scope, host, virtual *storagev1.CSIStorageCapacity) error {
			copyMetadata(host, virtual)
			virtual.Labels = nil // Names of the driver's own parts.
			virtual.StorageClassName = host.StorageClassName
			virtual.NodeTopology = host.NodeTopology
			virtual.Capacity = host.Capacity
			virtual.MaximumVolumeSize = host.MaximumVolumeSize
			return nil
		},
		Also: []syncer.Watch{{Side: syncer.Virtual, Object: &storagev1.StorageClass{}, Keys: capacitiesOfClass}},
	}
}

// virtualCapacity returns the name of the copy of a host capacity.
func virtualCapacity(host *storagev1.CSIStorageCapacity) string {
	return translate.Hashed(translate.Cluster{}, client.ObjectKeyFromObject(host)).Name
}

// originalOfCapacity returns the host capacity behind a virtual one.
func originalOfCapacity(s syncer.Scope, virtual types.NamespacedName) (*storagev1.CSIStorageCapacity, bool, error) {
	found, err := listCapacities(s, byVirtualName, virtual.Name)
	if err != nil || len(found) == 0 || virtual.Namespace != metav1.NamespaceSystem {
		return nil, false, err
	}
	return &found[0], true, nil
}

// listCapacities lists host capacities by an index.
func listCapacities(s syncer.Scope, field, value string) ([]storagev1.CSIStorageCapacity, error) {
	var list storagev1.CSIStorageCapacityList
	if err := s.Host.List(s.Context, &list, client.MatchingFields{field: value}, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("cannot list storage capacities of the host: %w", err)
	}
	return list.Items, nil
}

// showsClassOfCapacity reports whether the tenant sees the storage class of a capacity.
func showsClassOfCapacity(s syncer.Scope, virtual, host *storagev1.CSIStorageCapacity) (bool, error) {
	var class storagev1.StorageClass
	found, err := lookUp(s, syncer.Virtual, types.NamespacedName{Name: host.StorageClassName}, &class)
	if err != nil || !found || class.Annotations[labels.HostUID] == "" {
		return false, err
	}
	return isOfOriginal(s, virtual, host)
}

// capacitiesOfClass returns the keys of the capacities of a storage class.
func capacitiesOfClass(s syncer.Scope, class client.Object) ([]types.NamespacedName, error) {
	found, err := listCapacities(s, byStorageClass, class.GetName())
	if err != nil {
		return nil, err
	}
	var keys []types.NamespacedName
	for i := range found {
		keys = append(keys, types.NamespacedName{Namespace: metav1.NamespaceSystem, Name: virtualCapacity(&found[i])})
	}
	return keys, nil
}
