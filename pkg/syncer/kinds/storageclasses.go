package kinds

import (
	storagev1 "k8s.io/api/storage/v1"
	apilabels "k8s.io/apimachinery/pkg/labels"

	"github.com/sublet-dev/sublet/api/labels"
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
		Want: func(_ syncer.Scope, virtual, host *storagev1.StorageClass) (bool, error) {
			return virtual == nil || translate.IsOfHostObject(virtual, host), nil
		},
		Up: fillStorageClass,
	}
}

// fillStorageClass fills in the virtual class. The annotation of the default class is among
// the annotations that are copied.
func fillStorageClass(_ syncer.Scope, host, virtual *storagev1.StorageClass) error {
	uid := virtual.Annotations[labels.HostUID]
	virtual.Labels = host.Labels
	virtual.Annotations = translate.PassAnnotations(host.Annotations)
	virtual.Annotations[labels.HostUID] = uid
	virtual.Provisioner = host.Provisioner
	virtual.ReclaimPolicy = host.ReclaimPolicy
	virtual.MountOptions = host.MountOptions
	virtual.AllowVolumeExpansion = host.AllowVolumeExpansion
	virtual.VolumeBindingMode = host.VolumeBindingMode
	virtual.AllowedTopologies = host.AllowedTopologies
	return nil
}
