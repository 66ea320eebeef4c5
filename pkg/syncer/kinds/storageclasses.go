package kinds

import (
	storagev1 "k8s.io/api/storage/v1"

	"github.com/sublet-dev/sublet/pkg/syncer"
)

// StorageClasses shows the host's storage classes, which the tenant's claims name as they
// are. It leaves out parameters. They name pools, servers and Secrets of the host, and only
// the host's provisioner reads them.
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

// The annotations of the default class, which admission of claims reads.
const (
	defaultClass     = "storageclass.kubernetes.io/is-default-class"
	betaDefaultClass = "storageclass.beta.kubernetes.io/is-default-class"
)
