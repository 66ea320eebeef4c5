package app

import (
	"context"
	"fmt"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	nodev1 "k8s.io/api/node/v1"
	resourcev1 "k8s.io/api/resource/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"

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
func (v hostView) OwnsAddress(ctx context.Context, address string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, hostViewTimeout)
	defer cancel()
	reader, err := v.reader(ctx, "endpointslices")
	if err != nil {
		return false, err
	}
	return kinds.OwnsAddress(ctx, reader, v.cluster, address)
}

// StorageClasses implements admission.HostView.
func (v hostView) StorageClasses(ctx context.Context) ([]storagev1.StorageClass, error) {
	ctx, cancel := context.WithTimeout(ctx, hostViewTimeout)
	defer cancel()
	reader, err := v.reader(ctx, "storageclasses")
	if err != nil {
		return nil, err
	}
	var classes storagev1.StorageClassList
	if err := reader.List(ctx, &classes, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("cannot list storage classes of the host: %w", err)
	}
	return classes.Items, nil
}

// RuntimeClass implements admission.HostView.
func (v hostView) RuntimeClass(ctx context.Context, name string) (*nodev1.RuntimeClass, error) {
	ctx, cancel := context.WithTimeout(ctx, hostViewTimeout)
	defer cancel()
	if v.ownClass != nil {
		return v.ownClass(ctx, name)
	}
	reader, err := v.reader(ctx, "runtimeclasses")
	if err != nil {
		return nil, err
	}
	var class nodev1.RuntimeClass
	err = reader.Get(ctx, client.ObjectKey{Name: name}, &class)
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil //nolint:nilnil // There is none of that name.
	case err != nil:
		return nil, fmt.Errorf("cannot get runtime class %s of the host: %w", name, err)
	}
	return &class, nil
}

// ShowsIngressClass implements admission.HostView.
func (v hostView) ShowsIngressClass(ctx context.Context, name string) (bool, error) {
	return v.shows(ctx, "ingressclasses", name, &networkingv1.IngressClass{})
}

// ShowsDeviceClass reports whether a device class is one of the host that the tenant sees.
func (v hostView) ShowsDeviceClass(ctx context.Context, name string) (bool, error) {
	return v.shows(ctx, "deviceclasses", name, &resourcev1.DeviceClass{})
}

// DeviceClasses returns all device classes of the host. The kind of pods reads those that are not
// shown too.
func (v hostView) DeviceClasses(ctx context.Context) ([]resourcev1.DeviceClass, error) {
	ctx, cancel := context.WithTimeout(ctx, hostViewTimeout)
	defer cancel()
	reader, err := v.reader(ctx, "pods")
	if err != nil {
		return nil, err
	}
	var classes resourcev1.DeviceClassList
	if err := reader.List(ctx, &classes, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("cannot list device classes of the host: %w", err)
	}
	return classes.Items, nil
}

// shows reports whether a kind has a host object without a namespace.
func (v hostView) shows(ctx context.Context, kind, name string, empty client.Object) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, hostViewTimeout)
	defer cancel()
	reader, err := v.reader(ctx, kind)
	if err != nil {
		return false, err
	}
	err = reader.Get(ctx, client.ObjectKey{Name: name}, empty, client.UnsafeDisableDeepCopy)
	switch {
	case apierrors.IsNotFound(err):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("cannot get %T %s of the host: %w", empty, name, err)
	}
	return true, nil
}

// reader returns what a kind reads of the host.
func (v hostView) reader(ctx context.Context, kind string) (client.Reader, error) {
	engine, err := v.first.await(ctx)
	if err != nil {
		return nil, err
	}
	return engine.HostReader(kind)
}
