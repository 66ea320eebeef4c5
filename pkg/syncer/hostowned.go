package syncer

import (
	"errors"
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apilabels "k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
)

// hostOwned reconciles a key of a kind whose host object is the truth.
func (r *reconciler) reconcileHostOwned(s Scope, key types.NamespacedName) error {
	virtual := r.virtual.store.Get(key)
	host, err := r.findOriginal(s, key)
	if err != nil {
		return err
	}
	if r.expectations.isStale(Virtual, key, virtual) || r.kind.source == nil && r.expectations.isStale(Host, key, host) {
		s.Again(expectationLife)
		return nil
	}
	if host == nil {
		return r.deleteIfOriginalGone(s, key, virtual)
	}
	wanted, err := r.kind.want(s, virtual, host)
	switch {
	case err != nil:
		return fmt.Errorf("cannot tell whether host object %s is shown: %w", client.ObjectKeyFromObject(host), err)
	case !wanted:
		return r.deleteCopy(s, key, virtual)
	case virtual == nil:
		return r.createCopy(s, key, host)
	case !isCopy(virtual):
		// A tenant made an object of that name: it stays as it is.
		return nil
	case isTerminating(virtual):
		return nil
	case r.expectations.isAwaited(key, virtual):
		s.Again(expectationLife)
		return nil
	}
	return r.syncCopy(s, key, virtual, host)
}

// shown is when both copies are there and belong together.
func (r *reconciler) syncCopy(s Scope, key types.NamespacedName, virtual, host client.Object) error {
	raised := r.writeUp(s, key, host, virtual)
	if r.kind.down == nil || isTerminating(host) {
		return raised
	}
	lowered := r.writeDown(s, key, virtual, host)
	if lowered != nil {
		lowered = r.recordRefusal(s, virtual, key, lowered)
	}
	return errors.Join(raised, lowered)
}

// copied says that a virtual object is there and is a copy of a host object.
func isCopy(virtual client.Object) bool {
	return virtual != nil && virtual.GetAnnotations()[labels.HostUID] != ""
}

// sourceOf is the host object behind a virtual key as the cache has it, nil if
// there is none.
func (r *reconciler) findOriginal(s Scope, key types.NamespacedName) (client.Object, error) {
	if r.kind.source != nil {
		host, err := r.kind.source(s, key)
		if err != nil {
			return nil, fmt.Errorf("cannot find the host object behind %s: %w", key, err)
		}
		return host, nil
	}
	host := r.host.store.Get(r.hostKey(key))
	if host == nil || !r.isCopyOf(s, key, host) {
		return nil, nil
	}
	return host, nil
}

// hide takes away the virtual copy of a host object, and no other.
func (r *reconciler) deleteCopy(s Scope, key types.NamespacedName, virtual client.Object) error {
	if !isCopy(virtual) || r.kind.outlives {
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

// last writes what a virtual copy says at its end.
func (r *reconciler) updateBeforeDelete(s Scope, key types.NamespacedName, virtual client.Object) error {
	if r.kind.beforeDelete == nil {
		return nil
	}
	after := deepCopy(virtual)
	if err := r.kind.beforeDelete(s, after); err != nil {
		return fmt.Errorf("cannot tell what virtual object %s should be at its end: %w", key, err)
	}
	written, err := writeVirtual(s.Context, r.virtual.client, virtual, after)
	if apierrors.IsNotFound(err) {
		return nil // It is gone, as the watch will say.
	}
	if err != nil {
		return fmt.Errorf("cannot write virtual object %s: %w", key, err)
	}
	if written != nil {
		r.expectations.recordWrite(Virtual, key, written)
		r.onWrite()
	}
	return nil
}

// sourceless is when a virtual object has no host object, in the cache.
func (r *reconciler) deleteIfOriginalGone(s Scope, key types.NamespacedName, virtual client.Object) error {
	if !isCopy(virtual) || isTerminating(virtual) && r.kind.beforeDelete == nil || r.kind.outlives {
		return nil
	}
	if r.kind.source != nil {
		return r.deleteCopy(s, key, virtual)
	}
	hostKey := r.hostKey(key)
	found, err := getLive(s.Context, r.host.client, r.kind.newHost(), hostKey)
	if err != nil {
		return fmt.Errorf("cannot make sure that host object %s is gone: %w", hostKey, err)
	}
	if found != nil && string(found.GetUID()) == virtual.GetAnnotations()[labels.HostUID] && r.isSelected(found) && r.isCopyOf(s, key, found) {
		s.Again(time.Second) // The cache has not seen it yet.
		return nil
	}
	return r.deleteCopy(s, key, virtual)
}

// visible says that the watch of the kind would show a host object.
func (r *reconciler) isSelected(host client.Object) bool {
	sel := r.kind.sel
	if sel == nil {
		sel = oursSelector(r.cluster)
	}
	return sel.Matches(apilabels.Set(host.GetLabels()))
}

// mark notes on a virtual object which host object it is the copy of.
func setHostUID(virtual, host client.Object) {
	annotations := maps.Clone(virtual.GetAnnotations())
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[labels.HostUID] = string(host.GetUID())
	virtual.SetAnnotations(annotations)
}

// show makes the virtual copy of a host object.
func (r *reconciler) createCopy(s Scope, key types.NamespacedName, host client.Object) error {
	if isTerminating(host) {
		return nil
	}
	virtual := r.kind.newVirtual()
	virtual.SetNamespace(key.Namespace)
	virtual.SetName(key.Name)
	setHostUID(virtual, host)
	if r.kind.up != nil {
		if err := r.kind.up(s, deepCopy(host), virtual); err != nil {
			return fmt.Errorf("cannot tell what virtual object %s should be: %w", key, err)
		}
		setHostUID(virtual, host)
	}
	created, err := createVirtual(s.Context, r.virtual.client, virtual)
	switch {
	case err == nil:
		r.expectations.recordWrite(Virtual, key, created)
		r.onWrite()
		return nil
	case apierrors.IsAlreadyExists(err):
		s.Again(100 * time.Millisecond) // The watch is about to show it.
		return nil
	case apierrors.IsNotFound(err), apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return nil // The namespace is gone, and with it the reason to show it.
	default:
		return fmt.Errorf("cannot create virtual object %s: %w", key, err)
	}
}
