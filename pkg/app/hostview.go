package app

import (
	"context"
	"fmt"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	nodev1 "k8s.io/api/node/v1"
	policyv1 "k8s.io/api/policy/v1"
	resourcev1 "k8s.io/api/resource/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/policy"
	"github.com/sublet-dev/sublet/pkg/syncer/kinds"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// hostViewTimeout is how long an admission request waits for the engine, its caches or the host.
const hostViewTimeout = 5 * time.Second

// hostView lets admission read the host, mostly from the caches of the current engine. It
// implements [admission.HostView].
type hostView struct {
	engines *hostFirst
	cluster translate.Cluster
	host    kubernetes.Interface
	// ownClass returns the tenant's own runtime class of that name, if the operator allows it.
	// It is nil if tenants use the runtime classes of the host.
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

// ShowsDeviceClass reports whether the host has a device class that the tenant can see.
func (v hostView) ShowsDeviceClass(ctx context.Context, name string) (bool, error) {
	return v.get(ctx, "deviceclasses", name, &resourcev1.DeviceClass{})
}

// DeviceClasses returns all device classes of the host. The kind "pods" also watches those that
// the tenant cannot see.
func (v hostView) DeviceClasses(ctx context.Context) ([]resourcev1.DeviceClass, error) {
	var classes resourcev1.DeviceClassList
	err := v.list(ctx, "pods", &classes)
	return classes.Items, err
}

// SnapshotClasses returns the snapshot classes of the host that the tenant can see.
func (v hostView) SnapshotClasses(ctx context.Context) (classes []policy.SnapshotClass, err error) {
	err = v.read(ctx, "volumesnapshotclasses", func(ctx context.Context, reader client.Reader) (err error) {
		if classes, err = kinds.ListSnapshotClasses(ctx, reader); err != nil {
			return fmt.Errorf("cannot list snapshot classes of the host: %w", err)
		}
		return nil
	})
	return classes, err
}

// MayEvict implements admission.HostView. It sends the host a dry-run eviction. The real one
// follows from the deletion of the virtual pod, when the syncer deletes the copy.
func (v hostView) MayEvict(ctx context.Context, pod types.NamespacedName) error {
	ctx, cancel := context.WithTimeout(ctx, hostViewTimeout)
	defer cancel()
	key := translate.Hashed(v.cluster, pod)
	// The fence of the release recognizes a dry run by the query parameter, not by the body. A client that
	// waits for the Retry-After of an answer would lose the answer to the timeout.
	err := v.host.CoreV1().RESTClient().Post().Namespace(key.Namespace).Resource("pods").Name(key.Name).SubResource("eviction").
		VersionedParams(&metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}, scheme.ParameterCodec).
		Body(&policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}).
		MaxRetries(0).Do(ctx).Error()
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("cannot evict host pod %s: %w", key, err)
	}
	return nil
}

// list reads a list from the host cache of a kind. The items are shared with the cache and must
// not be changed.
func (v hostView) list(ctx context.Context, kind string, list client.ObjectList) error {
	return v.read(ctx, kind, func(ctx context.Context, reader client.Reader) error {
		if err := reader.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
			return fmt.Errorf("cannot list %T of the host: %w", list, err)
		}
		return nil
	})
}

// get reads a cluster-scoped object from the host cache of a kind, and reports whether it
// exists. The object is shared with the cache and must not be changed.
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

// read calls f with the reader of the host cache of a kind. It waits up to hostViewTimeout for
// the engine and its caches.
func (v hostView) read(ctx context.Context, kind string, f func(ctx context.Context, reader client.Reader) error) error {
	ctx, cancel := context.WithTimeout(ctx, hostViewTimeout)
	defer cancel()
	engine, err := v.engines.await(ctx)
	if err != nil {
		return err
	}
	reader, err := engine.HostReader(kind)
	if err != nil {
		return err
	}
	return f(ctx, reader)
}
