package syncer

import (
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
)

// isAwaited reports whether the host object was changed ahead of its virtual object. A
// reconcile would undo a change that is on its way. The wait ends when the virtual object
// changes, or after expectationLife, because the change may have failed.
//
// The host copy of an object of the virtual side carries the version that it is ahead of,
// so that every replica waits. Host objects that are not ours carry nothing: there only
// the replica that wrote the change waits. Elsewhere the change goes up first, and the
// tenant's request meets a conflict and is sent again, with the same result.
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
