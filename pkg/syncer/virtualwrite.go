package syncer

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// writeUp updates the virtual object from the host object. The binding of a pod, its status
// and the rest are separate requests. A webhook of the tenant may refuse each of them, so
// none waits for another.
func (r *reconciler) writeUp(s Scope, key types.NamespacedName, host, virtual client.Object) error {
	if r.kind.up == nil {
		return nil
	}
	after := deepCopy(virtual)
	if err := r.kind.up(r.withRecorder(s, virtual), deepCopy(host), after); err != nil {
		return fmt.Errorf("cannot build virtual object %s: %w", key, err)
	}
	if err := r.applyPatch(s, r.kind.patch, PatchRequest{Side: Virtual, Original: host, Copy: after, Before: virtual}); err != nil {
		return fmt.Errorf("cannot patch virtual object %s: %w", key, err)
	}
	switch {
	case r.kind.owner == Host && (r.kind.findOriginal == nil || !r.isCopy(after)):
		// A copy with several originals keeps the UID of the one that it was created from.
		setHostUID(after, host)
	case r.kind.owner == Virtual && !isTerminating(host) && r.checkPaused() == nil:
		translate.RemoveAnnotation(after, labels.Removed)
	}
	bound, bindErr := bindPod(s.Context, r.virtual.client, virtual, after)
	if bound {
		// Only the watch shows the version that the binding has created. The rest is written
		// after that.
		r.expectations.recordNewerWrite(Virtual, key, virtual)
		r.onWrite()
		return nil
	}
	return errors.Join(r.recordVirtualRefusal(s, virtual, bindErr), r.writeVirtual(s, key, host, virtual, after))
}

// writeVirtual sends the difference between two states of a virtual object. The status
// and the rest are separate requests where the type has a status subresource. What the
// API server refuses is recorded as an Event. An object that is gone is no error. host is the
// other side, nil for none.
func (r *reconciler) writeVirtual(s Scope, key types.NamespacedName, host, before, after client.Object) error {
	status := !equalValues(statusOf(before), statusOf(after))
	rest := !equalBesidesStatus(before, after)
	if !status && !rest || r.isWritePaused(s, key, host, before) {
		return nil
	}
	separate, err := r.hasStatusSubresource(before)
	if err != nil {
		return err
	}
	base, restErr := before, error(nil)
	if rest || !separate {
		base, separate, restErr = r.updateWhole(s, key, host, before, after, separate)
	}
	if !status || !separate || apierrors.IsConflict(restErr) || apierrors.IsNotFound(restErr) {
		return r.reportWriteError(s, key, before, restErr)
	}
	written := deepCopy(base)
	copyStatus(written, after)
	statusErr := r.updateStatus(s, before, written)
	if statusErr == nil {
		r.recordWritten(Virtual, key, written)
		r.alterations.record(key, host, base, written, !equalValues(statusOf(after), statusOf(written)))
	}
	return errors.Join(r.reportWriteError(s, key, before, restErr), r.reportWriteError(s, key, before, statusErr))
}

// isWritePaused reports whether a virtual object must not be written yet, because the API server
// altered the last writes of it.
func (r *reconciler) isWritePaused(s Scope, key types.NamespacedName, host, virtual client.Object) bool {
	wait := r.alterations.pause(key, host, virtual)
	if wait == 0 {
		return false
	}
	s.RequeueAfter(wait)
	r.events.record(s.Context, r.kind.name, virtual, tenantEvent{corev1.EventTypeWarning, reasonVirtualChanged, alteredMessage})
	return true
}

// updateWhole updates a virtual object, including its status unless the type has a status
// subresource. It returns the stored object, or before if the write failed. It also returns
// whether the type has a status subresource now: it may have got one since.
func (r *reconciler) updateWhole(s Scope, key types.NamespacedName, host, before, after client.Object, separate bool) (client.Object, bool, error) {
	written := deepCopy(after)
	if err := r.virtual.client.Update(s.Context, written); err != nil {
		return before, separate, err
	}
	r.recordWritten(Virtual, key, written)
	statusStored := equalValues(statusOf(after), statusOf(written))
	r.alterations.record(key, host, before, written, isAlteredBesidesStatus(after, written) || !separate && !statusStored)
	if separate || r.virtual.forgetStatus == nil || statusStored {
		return written, separate, nil
	}
	r.virtual.forgetStatus(written)
	separate, err := r.hasStatusSubresource(written)
	return written, separate, err
}

// reportWriteError returns the error of the reconcile for a failed write to a virtual object, and
// records an Event if the API server refused it. It returns nil for an object that is gone.
func (r *reconciler) reportWriteError(s Scope, key types.NamespacedName, virtual client.Object, err error) error {
	if err == nil || apierrors.IsNotFound(err) {
		return nil // It is deleted, as the watch will show.
	}
	return r.recordVirtualRefusal(s, virtual, fmt.Errorf("cannot write virtual object %s: %w", key, err))
}

// hasStatusSubresource reports whether the type of a virtual object has a status subresource.
func (r *reconciler) hasStatusSubresource(object client.Object) (bool, error) {
	if r.virtual.hasStatus == nil {
		return true, nil
	}
	ok, err := r.virtual.hasStatus(object)
	if err != nil {
		return false, fmt.Errorf("cannot discover the subresources of %s: %w", r.kind.name, err)
	}
	return ok, nil
}

// updateStatus writes the status of object. If the API server finds fields invalid, they are
// reset to their values in before and the rest is written. The tenant sees an Event for them.
func (r *reconciler) updateStatus(s Scope, before, object client.Object) error {
	const attempts = 3
	for range attempts {
		err := r.virtual.client.Status().Update(s.Context, object)
		if apierrors.IsNotFound(err) {
			return r.findMissingStatus(s, object, err)
		}
		if !apierrors.IsInvalid(err) {
			return err
		}
		reverted, revertErr := revertRefusedFields(before, object, err)
		if revertErr != nil || !reverted {
			return errors.Join(err, revertErr)
		}
		r.events.record(s.Context, r.kind.name, before, tenantEvent{corev1.EventTypeWarning, reasonVirtualRefused, err.Error()})
		if equalValues(statusOf(before), statusOf(object)) {
			return nil
		}
	}
	return fmt.Errorf("cannot update the virtual status: the API server refused it %d times", attempts)
}

// findMissingStatus returns a [subresourceError] if the virtual object exists and only its
// status subresource does not. Otherwise it returns err.
func (r *reconciler) findMissingStatus(s Scope, object client.Object, err error) error {
	key := client.ObjectKeyFromObject(object)
	found, liveErr := getLive(s.Context, r.virtual.client, object, key)
	if liveErr != nil {
		return fmt.Errorf("cannot get virtual object %s: %w", key, liveErr)
	}
	if found == nil || found.GetUID() != object.GetUID() {
		return err
	}
	if r.virtual.forgetStatus != nil {
		r.virtual.forgetStatus(object) // The definition of the type may have changed.
	}
	return &subresourceError{Virtual, key, "status"}
}

// bindPod binds a virtual pod to the node that it has in after, if it is not bound yet. The
// node of an existing pod can only be set by a binding. It returns whether it has bound the
// pod. If that fails, it clears the node of after, so that the rest can be written.
func bindPod(ctx context.Context, c client.Client, before, after client.Object) (bool, error) {
	from, isPod := before.(*corev1.Pod)
	to, _ := after.(*corev1.Pod)
	if !isPod || from.Spec.NodeName != "" || to.Spec.NodeName == "" {
		return false, nil
	}
	node := to.Spec.NodeName
	binding := &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: from.Namespace, Name: from.Name, UID: from.UID,
			Annotations: map[string]string{labels.Bound: string(from.UID)},
		},
		Target: corev1.ObjectReference{Kind: "Node", Name: node},
	}
	err := c.SubResource("binding").Create(ctx, from.DeepCopy(), binding)
	if err == nil {
		return true, nil
	}
	to.Spec.NodeName = ""
	if apierrors.IsNotFound(err) {
		return false, nil // It is deleted, as the watch will show.
	}
	return false, fmt.Errorf("cannot bind virtual pod %s to node %s: %w", client.ObjectKeyFromObject(from), node, err)
}

// createVirtual creates a virtual object together with its status.
func (r *reconciler) createVirtual(s Scope, object client.Object) (client.Object, error) {
	created := deepCopy(object)
	if err := r.virtual.client.Create(s.Context, created); err != nil {
		return nil, err
	}
	separate, err := r.hasStatusSubresource(object)
	if err != nil || !separate || equalValues(statusOf(created), statusOf(object)) {
		return created, err
	}
	before := deepCopy(created)
	copyStatus(created, object)
	if err := r.updateStatus(s, before, created); err != nil {
		return nil, err
	}
	return created, nil
}
