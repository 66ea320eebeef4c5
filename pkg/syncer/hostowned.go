package syncer

import (
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apilabels "k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// reconcileHostOwned reconciles a key of a kind whose host object is the truth.
func (r *reconciler) reconcileHostOwned(s Scope, key types.NamespacedName) error {
	virtual := r.virtual.store.Get(key)
	host, err := r.findOriginal(s, key)
	if err != nil {
		return err
	}
	if r.expectations.isStale(Virtual, key, virtual) || r.kind.findOriginal == nil && r.expectations.isStale(Host, key, host) {
		s.RequeueAfter(expectationLife)
		return nil
	}
	if host == nil {
		return r.deleteIfOriginalGone(s, key, virtual)
	}
	return r.syncFromHost(s, key, virtual, host)
}

// syncFromHost picks the step for a host object that exists. virtual is its copy, an object
// that a tenant has created under that name, or nil.
func (r *reconciler) syncFromHost(s Scope, key types.NamespacedName, virtual, host client.Object) error {
	s, err := r.load(s, virtual, host)
	if err != nil {
		return err
	}
	wanted, err := r.kind.want(s, virtual, host)
	switch {
	case err != nil:
		return fmt.Errorf("cannot decide whether host object %s gets a virtual copy: %w", client.ObjectKeyFromObject(host), err)
	case !wanted:
		return r.deleteCopy(s, key, virtual)
	case virtual == nil:
		return r.createCopy(s, key, host)
	case !r.isCopy(virtual):
		// A tenant has created an object of that name. It stays as it is.
		return nil
	case isTerminating(virtual):
		return nil
	case r.isAwaited(key, virtual, host):
		s.RequeueAfter(expectationLife)
		return nil
	}
	return r.syncCopy(s, key, virtual, host)
}

// syncCopy updates the virtual copy from the host object, and writes the tenant's changes that
// the kind syncs back to the host.
func (r *reconciler) syncCopy(s Scope, key types.NamespacedName, virtual, host client.Object) error {
	up := r.writeUp(s, key, host, virtual)
	if r.kind.down == nil || isTerminating(host) {
		return up
	}
	return errors.Join(up, r.recordRefusal(s, virtual, key, r.writeDown(s, key, virtual, host)))
}

// isCopy reports whether a virtual object exists and is the copy of a host object of the kind.
func (r *reconciler) isCopy(virtual client.Object) bool {
	return virtual != nil && virtual.GetAnnotations()[labels.HostUID] != "" && (r.kind.isCopy == nil || r.kind.isCopy(virtual))
}

// findOriginal returns the host object behind a virtual key as the cache has it, nil if
// there is none.
func (r *reconciler) findOriginal(s Scope, key types.NamespacedName) (client.Object, error) {
	if r.kind.findOriginal != nil {
		host, err := r.kind.findOriginal(s, key)
		if err != nil {
			return nil, fmt.Errorf("cannot find the host object behind %s: %w", key, err)
		}
		if host == nil || !r.isSelected(host) {
			return nil, nil
		}
		return host, nil
	}
	host := r.host.store.Get(r.hostKey(key))
	if host == nil || !r.isCopyOf(s, key, host) {
		return nil, nil
	}
	return host, nil
}

// deleteCopy deletes virtual if it is the copy of a host object.
func (r *reconciler) deleteCopy(s Scope, key types.NamespacedName, virtual client.Object) error {
	if !r.isCopy(virtual) || r.kind.outlives {
		return nil
	}
	if err := r.updateBeforeDelete(s, key, virtual); err != nil {
		return err
	}
	if isTerminating(virtual) {
		return nil
	}
	return r.deleteVirtual(s, key, virtual, nil)
}

// updateBeforeDelete writes the last state of a virtual copy that is about to be deleted.
func (r *reconciler) updateBeforeDelete(s Scope, key types.NamespacedName, virtual client.Object) error {
	if r.kind.beforeDelete == nil {
		return nil
	}
	if err := r.checkPaused(); err != nil {
		return err
	}
	after := deepCopy(virtual)
	if err := r.kind.beforeDelete(s, after); err != nil {
		return fmt.Errorf("cannot build the last state of virtual object %s: %w", key, err)
	}
	return r.writeVirtual(s, key, nil, virtual, after)
}

// deleteIfOriginalGone deletes the virtual copy of a host object that the cache does not
// show, if the host's API server does not have it either.
func (r *reconciler) deleteIfOriginalGone(s Scope, key types.NamespacedName, virtual client.Object) error {
	if !r.isCopy(virtual) || isTerminating(virtual) && r.kind.beforeDelete == nil || r.kind.outlives {
		return nil
	}
	late, err := r.isHostCacheLate(s, key, virtual)
	if err != nil {
		return err
	}
	if late {
		s.RequeueAfter(lateCachePause)
		return nil
	}
	if stays, err := r.keepUnselected(s, key, virtual); err != nil || stays {
		return err
	}
	return r.deleteCopy(s, key, virtual)
}

// keepUnselected updates the virtual copy of a host object that the watch no longer selects, if
// other objects need the copy. It reports whether the copy stays. It verifies by a live read that no object
// needs it, because nothing would create it again. As long as there is something
// to update, it also verifies that the host object exists.
func (r *reconciler) keepUnselected(s Scope, key types.NamespacedName, virtual client.Object) (bool, error) {
	if r.kind.unselected == nil {
		return false, nil
	}
	after := deepCopy(virtual)
	needed, err := r.kind.unselected(s, after)
	if err == nil && !needed {
		s.Host = r.liveCopyReader()
		needed, err = r.kind.unselected(s, after)
	}
	if err != nil {
		return false, fmt.Errorf("cannot decide whether %s stays: %w", key, err)
	}
	if !needed || equalBesidesStatus(virtual, after) && equalValues(statusOf(virtual), statusOf(after)) {
		return needed, nil
	}
	hostKey := r.hostKey(key)
	found, err := getLive(s.Context, r.host.client, r.kind.newHost(), hostKey)
	if err != nil {
		return false, fmt.Errorf("cannot verify that host object %s is deleted: %w", hostKey, err)
	}
	if found == nil || string(found.GetUID()) != virtual.GetAnnotations()[labels.HostUID] {
		return false, nil
	}
	if err := r.checkPaused(); err != nil {
		return true, err
	}
	return true, r.writeVirtual(s, key, nil, virtual, after)
}

// isHostCacheLate reports whether the original of a virtual copy exists although the cache does
// not show it. It asks the API server, unless a watch has delivered the deletion of that
// very original. If the kind has a FindOriginal, there may be other originals, so it is called
// with a live reader. That may also return objects that the watch does not select.
func (r *reconciler) isHostCacheLate(s Scope, key types.NamespacedName, virtual client.Object) (bool, error) {
	if r.kind.findOriginal != nil {
		s.Host = r.liveHostReader()
		host, err := r.kind.findOriginal(s, key)
		if err != nil {
			return false, fmt.Errorf("cannot verify that the host object behind %s is deleted: %w", key, err)
		}
		return host != nil && r.isSelected(host), nil
	}
	uid := types.UID(virtual.GetAnnotations()[labels.HostUID])
	if _, ok := r.sightings.findDeletion(Host, key, uid); ok {
		return false, nil
	}
	hostKey := r.hostKey(key)
	found, err := getLive(s.Context, r.host.client, r.kind.newHost(), hostKey)
	if err != nil {
		return false, fmt.Errorf("cannot verify that host object %s is deleted: %w", hostKey, err)
	}
	return found != nil && found.GetUID() == uid && r.isSelected(found) && r.isCopyOf(s, key, found), nil
}

// isSelected reports whether the watch of the kind would show a host object.
func (r *reconciler) isSelected(host client.Object) bool {
	return r.hostSelector().Matches(apilabels.Set(host.GetLabels()))
}

// hostSelector returns the selector of the kind's host objects.
func (r *reconciler) hostSelector() apilabels.Selector {
	if r.kind.selector != nil {
		return r.kind.selector
	}
	return oursSelector(r.cluster)
}

// setHostUID records on a virtual object which host object it is the copy of.
func setHostUID(virtual, host client.Object) {
	translate.SetAnnotation(virtual, labels.HostUID, string(host.GetUID()))
}

// createCopy creates the virtual copy of a host object.
func (r *reconciler) createCopy(s Scope, key types.NamespacedName, host client.Object) error {
	if isTerminating(host) {
		return nil
	}
	if err := r.checkPaused(); err != nil {
		return err
	}
	virtual := r.kind.newVirtual()
	virtual.SetNamespace(key.Namespace)
	virtual.SetName(key.Name)
	setHostUID(virtual, host)
	if r.kind.up != nil {
		if err := r.kind.up(s, deepCopy(host), virtual); err != nil {
			return fmt.Errorf("cannot build virtual object %s: %w", key, err)
		}
		if err := r.applyPatch(s, r.kind.patch, PatchRequest{Side: Virtual, Original: host, Copy: virtual}); err != nil {
			return fmt.Errorf("cannot patch virtual object %s: %w", key, err)
		}
		setHostUID(virtual, host)
	}
	created, err := r.createVirtual(s, virtual)
	switch {
	case err == nil:
		r.recordWritten(Virtual, key, created)
		return nil
	case apierrors.IsAlreadyExists(err):
		s.RequeueAfter(100 * time.Millisecond) // The watch is about to show it.
		return nil
	case apierrors.IsNotFound(err), apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return r.handleNoNamespace(s, key.Namespace, err)
	default:
		return fmt.Errorf("cannot create virtual object %s: %w", key, err)
	}
}

// namespacePause is how long a copy waits for its namespace to be created or deleted.
const namespacePause = time.Second

// handleNoNamespace handles a failed create of a copy whose namespace does not exist or is
// terminating. A kind with CreatesNamespace creates the namespace, once a terminating one is
// gone. Any other kind needs no copy without the namespace.
func (r *reconciler) handleNoNamespace(s Scope, name string, cause error) error {
	if !r.kind.createsNamespace {
		return nil
	}
	if apierrors.IsNotFound(cause) {
		err := r.virtual.client.Create(s.Context, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("cannot create virtual namespace %s: %w", name, err)
		}
	}
	s.RequeueAfter(namespacePause)
	return nil
}
