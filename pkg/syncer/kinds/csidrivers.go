package kinds

import (
	storagev1 "k8s.io/api/storage/v1"
	apilabels "k8s.io/apimachinery/pkg/labels"

	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// CSIDrivers shows the host's CSI drivers. The virtual scheduler reads whether a driver
// publishes its capacity. Nothing in the virtual cluster talks to a driver.
func CSIDrivers(Options) syncer.Resource[*storagev1.CSIDriver, *storagev1.CSIDriver] {
	return syncer.Resource[*storagev1.CSIDriver, *storagev1.CSIDriver]{
		Owner:  syncer.Host,
		Names:  translate.Same,
		Origin: sameName[*storagev1.CSIDriver],
		Select: apilabels.Everything(),
		Want:   isOfOriginal[*storagev1.CSIDriver],
		Up: func(_ syncer.Scope, host, virtual *storagev1.CSIDriver) error {
			copyMetadata(host, virtual)
			virtual.Spec = host.Spec
			virtual.Spec.TokenRequests = nil // Audiences of the host.
			return nil
		},
	}
}
