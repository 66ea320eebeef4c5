package kinds

import (
	storagev1 "k8s.io/api/storage/v1"
	apilabels "k8s.io/apimachinery/pkg/labels"

	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// StorageClasses shows the host's storage classes, which the tenant's claims name as they
// are. It leaves out parameters. They name pools, servers and Secrets of the host, and only
// the host's provisioner reads them.
func StorageClasses(Options) syncer.Resource[*storagev1.StorageClass, *storagev1.StorageClass] {
	return syncer.Resource[*storagev1.StorageClass, *storagev1.StorageClass]{
		Owner:  syncer.Host,
		Names:  translate.Same,
		Origin: sameName[*storagev1.StorageClass],
		Select: apilabels.Everything(),
		Want:   isOfOriginal[*storagev1.StorageClass],
		Up:     fillStorageClass,
	}
}

// The annotations of the default class, which admission of claims reads.
const (
	defaultClass     = "storageclass.kubernetes.io/is-default-class"
	betaDefaultClass = "storageclass.beta.kubernetes.io/is-default-class"
)

// fillStorageClass fills in the virtual class. Of the host's annotations it copies those of
// the default class alone.
func fillStorageClass(_ syncer.Scope, host, virtual *storagev1.StorageClass) error {
	copyMetadata(host, virtual, defaultClass, betaDefaultClass)
	virtual.Provisioner = host.Provisioner
	virtual.ReclaimPolicy = host.ReclaimPolicy
	virtual.MountOptions = host.MountOptions
	virtual.AllowVolumeExpansion = host.AllowVolumeExpansion
	virtual.VolumeBindingMode = host.VolumeBindingMode
	virtual.AllowedTopologies = host.AllowedTopologies
	return nil
}
