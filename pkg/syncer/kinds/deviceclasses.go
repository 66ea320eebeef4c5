package kinds

import (
	resourcev1 "k8s.io/api/resource/v1"
	apilabels "k8s.io/apimachinery/pkg/labels"

	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// DeviceClasses shows the host's device classes, which claims name as they are. The virtual
// scheduler reads which devices a class selects. The parameters for drivers stay on the host,
// which adds them to each allocation.
func DeviceClasses(Options) syncer.Resource[*resourcev1.DeviceClass, *resourcev1.DeviceClass] {
	return syncer.Resource[*resourcev1.DeviceClass, *resourcev1.DeviceClass]{
		Owner:  syncer.Host,
		Names:  translate.Same,
		Origin: sameName[*resourcev1.DeviceClass],
		Select: apilabels.Everything(),
		Want:   isOfOriginal[*resourcev1.DeviceClass],
		Up: func(_ syncer.Scope, host, virtual *resourcev1.DeviceClass) error {
			copyMetadata(host, virtual)
			virtual.Spec = host.Spec
			virtual.Spec.Config = nil
			return nil
		},
	}
}
