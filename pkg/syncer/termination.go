package syncer

import (
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// syncTermination passes the deletion of a virtual object on to its host copy, and completes it
// when the host copy is gone. A virtual pod thus waits for the kubelet.
func (r *reconciler) syncTermination(s Scope, key types.NamespacedName, virtual, host client.Object) error {
	if host == nil {
		return r.completeTermination(s, key, virtual)
	}
	up := r.writeUp(s, key, host, virtual)
	grace := r.atLeastGrace(host, virtual.GetDeletionGracePeriodSeconds())
	if isTerminating(host) && !isShorter(grace, host.GetDeletionGracePeriodSeconds()) {
		return up
	}
	return errors.Join(up, r.recordRefusal(s, virtual, key, r.deleteHost(s, key, host, deleteOptions{grace: grace})))
}

// completeTermination removes a terminating virtual object whose host copy is gone. If the
// object has finalizers, it gets its final state first, because controllers wait for it.
func (r *reconciler) completeTermination(s Scope, key types.NamespacedName, virtual client.Object) error {
	grace := virtual.GetDeletionGracePeriodSeconds()
	forced := grace != nil && *grace == 0
	var final client.Object
	if len(virtual.GetFinalizers()) > 0 {
		var err error
		if final, err = r.buildFinal(s, key, virtual); err != nil {
			return err
		}
	}
	if forced && final == nil {
		return nil // It only waits for its finalizers.
	}
	found, err := r.getUnseenCopy(s, key, virtual)
	if err != nil {
		return err
	}
	if found != nil && r.isCopyOf(s, key, found) && hasUIDOf(found, virtual) {
		r.expectations.recordWrite(Host, key, found)
		s.RequeueAfter(lateCachePause)
		return nil
	}
	written := r.writeFinal(s, key, virtual, final)
	if forced || apierrors.IsConflict(written) {
		return written
	}
	return errors.Join(written, r.deleteVirtual(s, key, virtual, new(int64)))
}

// isLost reports whether a virtual object has lost its host copy after that ran. A copy
// that Sublet removed on purpose is not lost.
func (r *reconciler) isLost(s Scope, key types.NamespacedName, virtual client.Object) bool {
	if !r.kind.evictedWithCopy || IsRemoved(virtual) {
		return false
	}
	seen, _ := r.sightings.findDeletion(Host, key, virtual.GetUID())
	return r.kind.started(s, virtual, seen.last)
}

// endEvicted ends a virtual object that has lost its host copy: it writes the final state and
// deletes the object. A pod must never run twice.
func (r *reconciler) endEvicted(s Scope, key types.NamespacedName, virtual client.Object) error {
	if err := r.checkPaused(); err != nil {
		return err
	}
	found, err := r.getUnseenCopy(s, key, virtual)
	if err != nil {
		return err
	}
	if found != nil {
		return r.handleAlreadyExists(s, key, virtual, r.hostKey(key), found)
	}
	final, err := r.buildFinal(s, key, virtual)
	if err != nil {
		return err
	}
	written := r.writeFinal(s, key, virtual, final)
	if apierrors.IsConflict(written) {
		return written
	}
	return errors.Join(written, r.deleteVirtual(s, key, virtual, new(int64)))
}

// buildFinal returns the virtual object with its final state, nil if it has one already. If
// this process has seen the deletion of the host copy, it starts from the last status of
// that copy. The kind's Lost completes it.
func (r *reconciler) buildFinal(s Scope, key types.NamespacedName, virtual client.Object) (client.Object, error) {
	if r.kind.lost == nil {
		return nil, nil
	}
	after := deepCopy(virtual)
	if seen, ok := r.sightings.findDeletion(Host, key, virtual.GetUID()); ok && seen.last != nil && r.kind.up != nil {
		raised := deepCopy(virtual)
		if err := r.kind.up(r.withRecorder(s, virtual), deepCopy(seen.last), raised); err != nil {
			return nil, fmt.Errorf("cannot build virtual object %s: %w", key, err)
		}
		copyStatus(after, raised)
	}
	if err := r.kind.lost(s, after); err != nil {
		return nil, fmt.Errorf("cannot build the final state of virtual object %s: %w", key, err)
	}
	if equalValues(statusOf(virtual), statusOf(after)) {
		return nil, nil
	}
	return after, nil
}

// writeFinal writes a final state, if there is one. A refused write is only recorded as an
// Event and returns no error, because it must not prevent the deletion.
func (r *reconciler) writeFinal(s Scope, key types.NamespacedName, virtual, final client.Object) error {
	if final == nil {
		return nil
	}
	if err := r.checkPaused(); err != nil {
		return err
	}
	err := r.writeVirtual(s, key, nil, virtual, final)
	if isRefusedWrite(err) {
		return nil
	}
	return err
}

// IsRemoved reports whether Sublet removed the host copy of a virtual object on purpose.
func IsRemoved(virtual client.Object) bool {
	uid, ok := virtual.GetAnnotations()[labels.Removed]
	return ok && uid == string(virtual.GetUID())
}

// MarkRemoved marks a virtual object whose host copy is about to be removed on purpose,
// while its kind is paused. The engine then creates a new copy instead of ending the
// object, and clears the mark.
func MarkRemoved(virtual client.Object) {
	translate.SetAnnotation(virtual, labels.Removed, string(virtual.GetUID()))
}
