package kinds

import (
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apilabels "k8s.io/apimachinery/pkg/labels"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// StorageClasses shows the host's storage classes, which the tenant's claims name as they
// are. It leaves out parameters. They name pools, servers and Secrets of the host, and only
// the host's provisioner reads them.
func StorageClasses(o Options) syncer.Resource[*storagev1.StorageClass, *storagev1.StorageClass] {
	return syncer.Resource[*storagev1.StorageClass, *storagev1.StorageClass]{
		Owner:  syncer.Host,
		Names:  translate.Same,
		Origin: sameName[*storagev1.StorageClass],
		Select: selected(o.Sync.FromHost.StorageClasses),
		Want: func(_ syncer.Scope, virtual, host *storagev1.StorageClass) (bool, error) {
			return virtual == nil || translate.IsOfHostObject(virtual, host), nil
		},
		Up: fillStorageClass,
	}
}

// The annotations of the default class, which admission of claims reads.
const (
	defaultClass     = "storageclass.kubernetes.io/is-default-class"
	betaDefaultClass = "storageclass.beta.kubernetes.io/is-default-class"
)

// selected returns the selector of the objects of a kind that the tenant sees. A selector
// that is not valid selects nothing.
func selected(settings v1alpha1.Selected) apilabels.Selector {
	selector, err := metav1.LabelSelectorAsSelector(&settings.Selector)
	if err != nil {
		return apilabels.Nothing()
	}
	if selector.Empty() {
		return apilabels.Everything()
	}
	return selector
}

// fillStorageClass fills in the virtual class. Of the host's annotations it copies those of
// the default class alone.
func fillStorageClass(_ syncer.Scope, host, virtual *storagev1.StorageClass) error {
	uid := virtual.Annotations[labels.HostUID]
	virtual.Labels = host.Labels
	virtual.Annotations = map[string]string{labels.HostUID: uid}
	for _, key := range []string{defaultClass, betaDefaultClass} {
		if value, ok := host.Annotations[key]; ok {
			virtual.Annotations[key] = value
		}
	}
	virtual.Provisioner = host.Provisioner
	virtual.ReclaimPolicy = host.ReclaimPolicy
	virtual.MountOptions = host.MountOptions
	virtual.AllowVolumeExpansion = host.AllowVolumeExpansion
	virtual.VolumeBindingMode = host.VolumeBindingMode
	virtual.AllowedTopologies = host.AllowedTopologies
	return nil
}
