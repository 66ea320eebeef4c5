package syncer

import (
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// reconcileVirtualOwned reconciles a key of a kind whose virtual object is the truth.
func (r *reconciler) reconcileVirtualOwned(s Scope, key types.NamespacedName) error {
	hostKey := r.hostKey(key)
	virtual, host := r.virtual.store.Get(key), r.host.store.Get(hostKey)
	switch {
	case r.expectations.isStale(Virtual, key, virtual), r.expectations.isStale(Host, key, host):
		s.RequeueAfter(expectationLife)
		return nil
	case host != nil && !r.isCopyOf(s, key, host):
		return r.reportConflict(s, key, virtual, hostKey)
	case host != nil && r.isDeletionInterrupted(s, key, host):
		return r.deleteHost(s, key, host, deleteOptions{grace: new(int64)})
	case virtual != nil:
		r.unstored.forget(key)
		if host != nil && !hasUIDOf(host, virtual) {
			return r.deletePredecessor(s, key, virtual, host)
		}
		return r.syncToHost(s, key, virtual, host)
	}
	r.compared.forget(key)
	if host != nil {
		return r.deleteOrphan(s, key, host)
	}
	return nil
}

// isCopyOf reports whether a host object proves to be the one that we created for key.
func (r *reconciler) isCopyOf(s Scope, key types.NamespacedName, host client.Object) bool {
	origin, ours := r.kind.origin(s, host)
	return ours && origin == key
}

// syncToHost picks the step for a virtual object that exists. host is its copy, nil if
// there is none.
func (r *reconciler) syncToHost(s Scope, key types.NamespacedName, virtual, host client.Object) error {
	s, err := r.load(s, virtual, host)
	if err != nil {
		return err
	}
	wanted, err := r.kind.want(s, virtual, host)
	switch {
	case err != nil:
		return fmt.Errorf("cannot decide whether %s gets a host copy: %w", key, err)
	case isTerminating(virtual) && r.kind.evictedWithCopy:
		return r.syncTermination(s, key, virtual, host)
	case !wanted:
		return r.deleteUnwanted(s, key, virtual, host)
	case r.isCompared(key, virtual, host):
		return nil
	}
	virtual, err = r.readBody(s, key, virtual)
	switch {
	case err != nil || virtual == nil:
		return err
	case host == nil:
		return r.createHost(s, key, virtual)
	case r.isAwaited(key, virtual, host):
		s.RequeueAfter(expectationLife)
		return nil
	default:
		return r.syncBoth(s, key, virtual, host)
	}
}

// createHost creates a wanted host copy that does not exist. A pod whose host copy was lost
// after it ran ends instead.
func (r *reconciler) createHost(s Scope, key types.NamespacedName, virtual client.Object) error {
	switch {
	case isTerminating(virtual):
		return nil
	case r.isLost(s, key, virtual):
		return r.endEvicted(s, key, virtual)
	}
	if err := r.checkPaused(); err != nil {
		return err
	}
	if err := r.checkDeferred(s, key, virtual); err != nil {
		return err
	}
	host, err := r.createHostCopy(s, key, virtual, writeOptions{})
	switch {
	case err == nil:
		r.recordWritten(Host, key, host)
		return nil
	case apierrors.IsAlreadyExists(err):
		hostKey := r.hostKey(key)
		found, err := getLive(s.Context, r.host.client, r.kind.newHost(), hostKey)
		if err != nil {
			return fmt.Errorf("cannot get host object %s, which exists: %w", hostKey, err)
		}
		return r.handleAlreadyExists(s, key, virtual, hostKey, found)
	default:
		return errors.Join(r.writeRefusal(s, key, virtual, err), r.recordRefusal(s, virtual, key, err))
	}
}

// checkDeferred returns [errDeferred] if the host has refused the copy and its retry is not
// due. It writes the refusal into the virtual object again, because a scheduler may have picked
// another node in the meantime. The host's refusal does not depend on the node.
func (r *reconciler) checkDeferred(s Scope, key types.NamespacedName, virtual client.Object) error {
	if r.pendingRefusal == nil {
		return nil
	}
	refusal := r.pendingRefusal(key, virtual)
	if refusal == nil {
		return nil
	}
	return errors.Join(errDeferred, r.writeRefusal(s, key, virtual, refusal))
}

// handleAlreadyExists decides what to do with a host object that the API server has and the
// cache does not show. found is nil if it was deleted since.
func (r *reconciler) handleAlreadyExists(s Scope, key types.NamespacedName, virtual client.Object, hostKey types.NamespacedName, found client.Object) error {
	if found == nil {
		s.RequeueAfter(10 * time.Millisecond) // It was deleted in between.
		return nil
	}
	if !r.isCopyOf(s, key, found) {
		return r.recordRefusal(s, virtual, key, &conflictError{hostKey})
	}
	// It is ours: the cache is about to show it.
	r.expectations.recordWrite(Host, key, found)
	s.RequeueAfter(expectationLife)
	return nil
}

// createHostCopy creates the host copy of a virtual object.
func (r *reconciler) createHostCopy(s Scope, key types.NamespacedName, virtual client.Object, o writeOptions) (client.Object, error) {
	host := r.kind.newHost()
	translate.Stamp(r.cluster, r.kind.names, key, virtual.GetUID(), host)
	host, err := r.buildHost(s, key, virtual, host)
	if err != nil {
		return nil, err
	}
	undo, err := r.reserve(host, o)
	if err != nil {
		return nil, fmt.Errorf("cannot create host object %s: %w", client.ObjectKeyFromObject(host), asHostRefusal(err))
	}
	if err := r.host.client.Create(s.Context, host, &client.CreateOptions{DryRun: o.dryRunModes()}); err != nil {
		undo()
		return nil, fmt.Errorf("cannot create host object %s: %w", client.ObjectKeyFromObject(host), asHostRefusal(err))
	}
	if !o.dryRun {
		r.sightings.forgetDeletion(Host, key)
	}
	return host, nil
}

// reserve enters a host copy into the ledger before it is written. It returns a [limitError]
// if the copy exceeds a limit. The caller calls undo if the write fails. A dry run only checks
// the limits.
func (r *reconciler) reserve(host client.Object, o writeOptions) (undo func(), err error) {
	nothing := func() {}
	switch {
	case r.ledger == nil || r.copyResource == "":
		return nothing, nil
	case o.dryRun:
		return nothing, r.ledger.check(r.copyResource, host)
	default:
		return r.ledger.reserve(r.copyResource, host)
	}
}

// buildHost runs Down and the patch on a host object and returns it. If the virtual side owns
// the kind, the engine restores the identity of the host object afterwards. If the patch fails, or Down returns an
// [translate.UnsupportedError], the object is returned as Down has left it. After other errors of Down it is nil.
func (r *reconciler) buildHost(s Scope, key types.NamespacedName, virtual, host client.Object) (client.Object, error) {
	owners := host.GetOwnerReferences()
	var before client.Object
	patch := r.kind.patchOf(host)
	if patch != nil && host.GetUID() != "" {
		before = deepCopy(host)
	}
	if r.kind.down != nil {
		if err := r.kind.down(s, deepCopy(virtual), host); err != nil {
			if _, ok := errors.AsType[*translate.UnsupportedError](err); !ok {
				host = nil
			}
			return host, fmt.Errorf("cannot build the host copy of %s: %w", key, err)
		}
	}
	if err := r.applyPatch(s, patch, PatchRequest{Side: Host, Original: virtual, Copy: host, Before: before}); err != nil {
		return host, fmt.Errorf("cannot patch the host copy of %s: %w", key, err)
	}
	if r.kind.owner == Virtual {
		translate.Stamp(r.cluster, r.kind.names, key, virtual.GetUID(), host)
		if host.GetUID() != "" {
			translate.KeepOwners(r.cluster, host, owners)
		}
		translate.RemoveAnnotation(host, labels.Awaits)
	}
	return host, nil
}

// syncBoth writes status up and spec down. Neither waits for the other.
func (r *reconciler) syncBoth(s Scope, key types.NamespacedName, virtual, host client.Object) error {
	up := r.writeUp(s, key, host, virtual)
	if isTerminating(host) {
		if r.kind.evictedWithCopy && !isTerminating(virtual) && !IsRemoved(virtual) && r.kind.started(s, virtual, host) {
			return errors.Join(up, r.deleteVirtual(s, key, virtual, host.GetDeletionGracePeriodSeconds()))
		}
		return up
	}
	down := r.writeDown(s, key, virtual, host)
	return errors.Join(up, r.writeRefusedResize(s, key, virtual, host, down), r.recordRefusal(s, virtual, key, down))
}
