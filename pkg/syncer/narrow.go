package syncer

import (
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// handleFailedPatch handles the failure of an update of a host copy to wanted. If the host refuses the update,
// it narrows the copy. It returns the error of the reconcile.
func (r *reconciler) handleFailedPatch(s Scope, key types.NamespacedName, host, wanted client.Object, err error) error {
	if apierrors.IsNotFound(err) {
		return nil // The copy is deleted, as the watch will show.
	}
	cause := fmt.Errorf("cannot patch host object %s: %w", client.ObjectKeyFromObject(host), asHostRefusal(err))
	if !isRefusedWrite(cause) {
		return cause
	}
	return r.narrow(s, key, host, wanted, cause)
}

// narrowUnbuilt narrows a host copy that could not be built because of cause. wanted lacks what could not be
// built. It is nil if nothing is known, as after a failed read. The copy then stays as it is.
func (r *reconciler) narrowUnbuilt(s Scope, key types.NamespacedName, host, wanted client.Object, cause error) error {
	if wanted == nil || r.kind.narrow == nil {
		return cause
	}
	return r.narrow(s, key, host, wanted, cause)
}

// narrow removes from a host copy what wanted no longer gives. Otherwise a tenant could keep access that has
// ended, by an update that fails for what else it has. It deletes a copy that the host does not let it
// narrow, see [Resource.Narrow]. It returns cause, or why the copy cannot be narrowed yet.
func (r *reconciler) narrow(s Scope, key types.NamespacedName, host, wanted client.Object, cause error) error {
	narrowed, isStale := r.buildNarrowed(host, wanted)
	err := r.writeNarrowed(s, key, host, narrowed)
	switch {
	case err == nil || apierrors.IsNotFound(err):
		return cause
	case !isRefusedWrite(err):
		// Joined with a refusal, it would be tried again as late as that.
		return fmt.Errorf("cannot narrow host object %s: %w", client.ObjectKeyFromObject(host), err)
	case isStale && r.isLasting(key, err):
		if err := r.deleteHost(s, key, host, deleteOptions{ifUnchanged: true}); err != nil {
			return err
		}
	}
	return cause
}

// isLasting reports whether a failed write to the host would fail again.
func (r *reconciler) isLasting(key types.NamespacedName, err error) bool {
	return isRefused(asHostRefusal(err)) || r.failures != nil && r.failures(key) >= lastingFailures
}

// buildNarrowed returns a copy of host without what wanted does not give. isStale is true if that is more
// than metadata.
func (r *reconciler) buildNarrowed(host, wanted client.Object) (narrowed client.Object, isStale bool) {
	narrowed = deepCopy(host)
	narrowed.SetLabels(keepKeys(host.GetLabels(), wanted.GetLabels()))
	narrowed.SetAnnotations(keepKeys(host.GetAnnotations(), wanted.GetAnnotations()))
	if r.kind.narrow == nil {
		return narrowed, false
	}
	before := deepCopy(narrowed)
	r.kind.narrow(narrowed, wanted)
	return narrowed, !equalBesidesStatus(before, narrowed)
}

// keepKeys returns the labels or annotations of a copy whose keys are wanted. It keeps all
// that describe the copy itself.
func keepKeys(all, wanted map[string]string) map[string]string {
	kept := map[string]string{}
	for key, value := range all {
		_, ok := wanted[key]
		if ok || translate.IsOurs(key) && !strings.HasPrefix(key, labels.TenantPrefix) {
			kept[key] = value
		}
	}
	if len(kept) == 0 {
		return nil
	}
	return kept
}

// writeNarrowed sends the difference between a host copy and its narrowed state. It sends nothing if they are equal.
func (r *reconciler) writeNarrowed(s Scope, key types.NamespacedName, host, narrowed client.Object) error {
	patches, err := hostPatches(host, narrowed)
	if err != nil || len(patches) == 0 {
		return err
	}
	change, isDue, err := r.checkContest(s, key, host, patches)
	if err != nil || !isDue {
		return err
	}
	written, err := r.sendReserved(s, host, narrowed, patches)
	r.recordWritten(Host, key, written)
	if err == nil {
		r.contests.record(key, change)
		r.log.Info("The host refuses an update of a copy. What the copy no longer gives is removed",
			"kind", r.kind.name, "key", key, "host", client.ObjectKeyFromObject(host))
	}
	return err
}
