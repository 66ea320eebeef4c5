package kinds

import (
	storagev1 "k8s.io/api/storage/v1"

	"github.com/sublet-dev/sublet/pkg/syncer"
)

// CSIDrivers copies the host's CSI drivers for the virtual scheduler. It reads whether a driver
// publishes its capacity, and whether it must run on the node. These fields are cleared if the
// capacities or the CSINodes are not synced, because the scheduler would then find no node.
// Nothing in the virtual cluster calls a driver.
func CSIDrivers(o Options) syncer.Resource[*storagev1.CSIDriver, *storagev1.CSIDriver] {
	return sameNamed(func(host, virtual *storagev1.CSIDriver) {
		stored := virtual.Spec.PreventPodSchedulingIfMissing
		virtual.Spec = host.Spec
		virtual.Spec.TokenRequests = nil                // Audiences of the host.
		virtual.Spec.ServiceAccountTokenInSecrets = nil // The API refuses it without them.
		if !o.Sync.IsEnabled("sync.fromHost.csiStorageCapacities") {
			virtual.Spec.StorageCapacity = new(false)
		}
		if !o.Sync.IsEnabled("sync.fromHost.csiNodes") {
			virtual.Spec.PreventPodSchedulingIfMissing = nil
		}
		if virtual.Spec.PreventPodSchedulingIfMissing == nil && stored != nil {
			virtual.Spec.PreventPodSchedulingIfMissing = new(false) // The default of the virtual API.
		}
	})
}
