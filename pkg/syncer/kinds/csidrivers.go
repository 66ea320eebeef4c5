package kinds

import (
	storagev1 "k8s.io/api/storage/v1"

	"github.com/sublet-dev/sublet/pkg/syncer"
)

// CSIDrivers shows the host's CSI drivers. The virtual scheduler reads whether a driver
// publishes its capacity, and whether it must be on a node. It is not told so where the
// capacities or the drivers of nodes are not shown: it would find no node. Nothing in the
// virtual cluster talks to a driver.
func CSIDrivers(o Options) syncer.Resource[*storagev1.CSIDriver, *storagev1.CSIDriver] {
	return sameNamed(func(host, virtual *storagev1.CSIDriver) {
		virtual.Spec = host.Spec
		virtual.Spec.TokenRequests = nil // Audiences of the host.
		if !o.Sync.IsEnabled("sync.fromHost.csiStorageCapacities") {
			virtual.Spec.StorageCapacity = new(false)
		}
		if !o.Sync.IsEnabled("sync.fromHost.csiNodes") {
			virtual.Spec.PreventPodSchedulingIfMissing = nil
		}
	})
}
