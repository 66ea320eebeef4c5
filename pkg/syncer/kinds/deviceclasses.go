package kinds

import (
	resourcev1 "k8s.io/api/resource/v1"

	"github.com/sublet-dev/sublet/pkg/syncer"
)

// DeviceClasses copies the host's device classes, which ResourceClaims refer to by the same names.
// The virtual scheduler reads which devices a class selects. The parameters for drivers stay on
// the host, which adds them to each allocation.
func DeviceClasses(Options) syncer.Resource[*resourcev1.DeviceClass, *resourcev1.DeviceClass] {
	return sameNamed(func(host, virtual *resourcev1.DeviceClass) {
		virtual.Spec = host.Spec
		virtual.Spec.Config = nil
	})
}
