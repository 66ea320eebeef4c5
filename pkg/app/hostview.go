package app

import (
	"context"
	"fmt"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	nodev1 "k8s.io/api/node/v1"
	resourcev1 "k8s.io/api/resource/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/policy"
	"github.com/sublet-dev/sublet/pkg/syncer/kinds"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// hostViewTimeout is how long a request waits for a cache that is not filled yet.
const hostViewTimeout = 5 * time.Second

// hostView answers what the host has, from the caches of the current term's engine.
type hostView struct {
	first   *hostFirst
	cluster translate.Cluster
	host    kubernetes.Interface
	// ownClass returns the tenant's own runtime class of that name if the operator allows it.
	// It is nil where the tenant sees those of the host instead.
	ownClass func(ctx context.Context, name string) (*nodev1.RuntimeClass, error)
}

// OwnsAddress implements admission.HostView.
func (v hostView) OwnsAddress(ctx context.Context, address string) (owns bool, err error) {
	err = v.read(ctx, "endpointslices", func(ctx context.Context, reader client.Reader) (err error) {
		owns, err = kinds.OwnsAddress(ctx, reader, v.cluster, address)
		return err
	})
	return owns, err
}

// StorageClasses implements admission.HostView.
func (v hostView) StorageClasses(ctx context.Context) ([]storagev1.StorageClass, error) {
	var classes storagev1.StorageClassList
	err := v.list(ctx, "storageclasses", &classes)
	return classes.Items, err
}

// RuntimeClass implements admission.HostView.
func (v hostView) RuntimeClass(ctx context.Context, name string) (*nodev1.RuntimeClass, error) {
	if v.ownClass != nil {
		ctx, cancel := context.WithTimeout(ctx, hostViewTimeout)
		defer cancel()
		return v.ownClass(ctx, name)
	}
	var class nodev1.RuntimeClass
	if found, err := v.get(ctx, "runtimeclasses", name, &class); err != nil || !found {
		return nil, err
	}
	return &class, nil
}

// ShowsIngressClass implements admission.HostView.
func (v hostView) ShowsIngressClass(ctx context.Context, name string) (bool, error) {
	return v.get(ctx, "ingressclasses", name, &networkingv1.IngressClass{})
}

// ShowsDeviceClass reports whether a device class is one of the host that the tenant sees.
func (v hostView) ShowsDeviceClass(ctx context.Context, name string) (bool, error) {
	return v.get(ctx, "deviceclasses", name, &resourcev1.DeviceClass{})
}

// DeviceClasses returns all device classes of the host. The kind of pods reads those that are not
// shown too.
func (v hostView) DeviceClasses(ctx context.Context) ([]resourcev1.DeviceClass, error) {
	var classes resourcev1.DeviceClassList
	err := v.list(ctx, "pods", &classes)
	return classes.Items, err
}

// SnapshotClasses returns the snapshot classes of the host that the tenant sees.
func (v hostView) SnapshotClasses(ctx context.Context) (classes []policy.SnapshotClass, err error) {
	err = v.read(ctx, "volumesnapshotclasses", func(ctx context.Context, reader client.Reader) (err error) {
		if classes, err = kinds.ListSnapshotClasses(ctx, reader); err != nil {
			return fmt.Errorf("cannot list snapshot classes of the host: %w", err)
		}
		return nil
	})
	return classes, err
}

// list fills in a list with what a kind has of the host. It shares its content with the cache.
func (v hostView) list(ctx context.Context, kind string, list client.ObjectList) error {
	return v.read(ctx, kind, func(ctx context.Context, reader client.Reader) error {
		if err := reader.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
			return fmt.Errorf("cannot list %T of the host: %w", list, err)
		}
		return nil
	})
}

// get fills in a host object without a namespace, and reports whether a kind has one of that
// name. The object shares its content with the cache.
func (v hostView) get(ctx context.Context, kind, name string, object client.Object) (found bool, err error) {
	err = v.read(ctx, kind, func(ctx context.Context, reader client.Reader) error {
		err := reader.Get(ctx, client.ObjectKey{Name: name}, object, client.UnsafeDisableDeepCopy)
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("cannot get %T %s of the host: %w", object, name, err)
		}
		found = err == nil
		return nil
	})
	return found, err
}

// read calls f with the reader of what a kind has of the host. It waits for the caches for a
// moment.
func (v hostView) read(ctx context.Context, kind string, f func(ctx context.Context, reader client.Reader) error) error {
	ctx, cancel := context.WithTimeout(ctx, hostViewTimeout)
	defer cancel()
	engine, err := v.first.await(ctx)
	if err != nil {
		return err
	}
	reader, err := engine.HostReader(kind)
	if err != nil {
		return err
	}
	return f(ctx, reader)
}
