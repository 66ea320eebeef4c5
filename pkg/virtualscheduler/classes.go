package virtualscheduler

import (
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apilabels "k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers/storage"
	storageinformers "k8s.io/client-go/informers/storage/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"

	"github.com/sublet-dev/sublet/api/labels"
)

const (
	// noProvisioner is the provisioner of a class whose volumes the operator makes by hand.
	noProvisioner = "kubernetes.io/no-provisioner"
	// hostProvisioner takes its place for the scheduler. No class has it.
	hostProvisioner = labels.Domain + "/host"
)

// Storage implements informers.SharedInformerFactory. The volumes of a class without a
// provisioner are on the host alone. The scheduler would look for them in the virtual
// cluster and find no node. It takes the host for the provisioner, which refuses the nodes
// that have no volume.
func (f *sharedInformers) Storage() storage.Interface {
	return storageGroup{f.SharedInformerFactory.Storage()}
}

// storageGroup has storage classes as the scheduler needs them.
type storageGroup struct{ storage.Interface }

// V1 implements storage.Interface.
func (g storageGroup) V1() storageinformers.Interface { return storageVersion{g.Interface.V1()} }

// storageVersion is the version of storageGroup with classes.
type storageVersion struct{ storageinformers.Interface }

// StorageClasses implements storageinformers.Interface.
func (v storageVersion) StorageClasses() storageinformers.TypedStorageClassInformer {
	return classInformer{v.Interface.StorageClasses()}
}

// classInformer has a lister of classes that all have a provisioner.
type classInformer struct {
	storageinformers.TypedStorageClassInformer
}

// Lister implements storageinformers.StorageClassInformer.
func (i classInformer) Lister() storagelisters.StorageClassLister {
	return classLister{i.TypedStorageClassInformer.Lister()}
}

// classLister lists classes that all have a provisioner.
type classLister struct {
	storagelisters.StorageClassLister
}

// Get implements storagelisters.StorageClassLister.
func (l classLister) Get(name string) (*storagev1.StorageClass, error) {
	class, err := l.StorageClassLister.Get(name)
	if apierrors.IsNotFound(err) {
		return hiddenClass(name), nil
	}
	return withProvisioner(class), err
}

// hiddenClass returns a class in place of one that the tenant may use and does not see. Its
// claims may wait for a pod, so the pod does not wait for them.
func hiddenClass(name string) *storagev1.StorageClass {
	return &storagev1.StorageClass{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Provisioner: hostProvisioner,
		VolumeBindingMode: new(storagev1.VolumeBindingWaitForFirstConsumer),
	}
}

// List implements storagelisters.StorageClassLister.
func (l classLister) List(selector apilabels.Selector) ([]*storagev1.StorageClass, error) {
	classes, err := l.StorageClassLister.List(selector)
	for i := range classes {
		classes[i] = withProvisioner(classes[i])
	}
	return classes, err
}

// withProvisioner returns the class, with the host as the provisioner if it has none.
func withProvisioner(class *storagev1.StorageClass) *storagev1.StorageClass {
	if class == nil || class.Provisioner != noProvisioner {
		return class
	}
	class = class.DeepCopy()
	class.Provisioner = hostProvisioner
	return class
}
