package syncer

import (
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
)

// isAwaited reports whether the host object was changed host-first and the virtual object has
// not changed yet. A reconcile would undo that change. The wait ends when the virtual object
// changes, or after expectationLife, because the change may have failed.
//
// A host copy has an annotation with the virtual version that it is ahead of, so that every
// replica waits. Originals on the host have no annotation of ours, so only the replica that
// wrote the change waits. Another replica may write the change up first. The tenant's request
// then meets a conflict and is retried, with the same result.
func (r *reconciler) isAwaited(key types.NamespacedName, virtual, host client.Object) bool {
	if r.kind.owner == Host {
		return r.expectations.isAwaited(key, virtual)
	}
	version := host.GetAnnotations()[labels.Awaits]
	if version == "" {
		return false
	}
	order, err := resourceversion.CompareResourceVersion(virtual.GetResourceVersion(), version)
	if err == nil && order <= 0 && r.sightings.age(key, "awaits "+version) < expectationLife {
		return true
	}
	r.sightings.forgetState(key)
	return false
}
