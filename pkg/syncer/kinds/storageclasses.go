package kinds

import (
	storagev1 "k8s.io/api/storage/v1"

	"github.com/sublet-dev/sublet/pkg/syncer"
)

// StorageClasses copies the host's storage classes, which claims refer to by the same names. It omits
// the parameters, which name pools, servers and Secrets of the host.
func StorageClasses(Options) syncer.Resource[*storagev1.StorageClass, *storagev1.StorageClass] {
	return sameNamed(func(host, virtual *storagev1.StorageClass) {
		virtual.Provisioner = host.Provisioner
		virtual.ReclaimPolicy = host.ReclaimPolicy
		virtual.MountOptions = host.MountOptions
		virtual.AllowVolumeExpansion = host.AllowVolumeExpansion
		virtual.VolumeBindingMode = host.VolumeBindingMode
		virtual.AllowedTopologies = host.AllowedTopologies
	}, defaultClass, betaDefaultClass)
}

// The annotations of the default storage class.
const (
	defaultClass     = "storageclass.kubernetes.io/is-default-class"
	betaDefaultClass = "storageclass.beta.kubernetes.io/is-default-class"
)
