package admission

import (
	"context"
	"fmt"

	nodev1 "k8s.io/api/node/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/klog/v2"
)

// HostView provides facts about the host. They must not come from virtual objects, because a tenant can write
// those.
type HostView interface {
	// OwnsAddress reports whether an address is that of a running pod of this virtual
	// cluster with a network of its own.
	OwnsAddress(ctx context.Context, address string) (bool, error)
	// StorageClasses returns all storage classes of the host.
	StorageClasses(ctx context.Context) ([]storagev1.StorageClass, error)
	// RuntimeClass returns a runtime class of the host that the tenant sees, or one of the
	// tenant's own whose handler the operator allows. It returns nil for every other name.
	RuntimeClass(ctx context.Context, name string) (*nodev1.RuntimeClass, error)
	// ShowsIngressClass reports whether an ingress class is one of the host that the tenant
	// sees.
	ShowsIngressClass(ctx context.Context, name string) (bool, error)
	// MayEvict returns why the host would not evict the copy of a pod now. It returns nil if
	// it would, and for a pod without a copy.
	MayEvict(ctx context.Context, pod types.NamespacedName) error
}

// unknownHost returns the error for a request that cannot be checked, because the state of
// the host is not known yet.
func unknownHost(a admission.Attributes, err error) error {
	klog.InfoS("Request not checked, the state of the host is unknown", "kind", a.GetKind().Kind,
		"object", a.GetNamespace()+"/"+a.GetName(), "err", err)
	return apierrors.NewServiceUnavailable(fmt.Sprintf(
		"%s %s cannot be checked: the virtual cluster does not know the state of the host yet. Try again.", a.GetKind().Kind, a.GetName()))
}
