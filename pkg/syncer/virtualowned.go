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

// virtualOwned reconciles a key of a kind whose virtual object is the truth.
func (r *reconciler) reconcileVirtualOwned(s Scope, key types.NamespacedName) error {
	hostKey := r.hostKey(key)
	virtual, host := r.virtual.store.Get(key), r.host.store.Get(hostKey)
	switch {
	case r.expectations.isStale(Virtual, key, virtual), r.expectations.isStale(Host, key, host):
		s.Again(expectationLife)
		return nil
	case virtual == nil && host == nil:
		return nil
	case host != nil && !r.isCopyOf(s, key, host):
		return r.reportConflict(s, key, virtual, hostKey)
	case virtual == nil:
		return r.deleteOrphan(s, key, host)
	case host != nil && !hasUIDOf(host, virtual):
		return r.deletePredecessor(s, key, virtual, host)
	default:
		return r.syncToHost(s, key, virtual, host)
	}
}

// made says that a host object proves to be the one that we made for key.
func (r *reconciler) isCopyOf(s Scope, key types.NamespacedName, host client.Object) bool {
	origin, ours := r.kind.origin(s, host)
	return ours && origin == key
}

// belongs says that a host object of ours was made for this very virtual object,
// or for one of its name that was about to be created.
func hasUIDOf(host, virtual client.Object) bool {
	uid := virtualUID(host)
	return uid == labels.Pending || uid == virtual.GetUID()
}

// follow lets the host side follow a virtual object. host is its copy, nil if
// there is none.
func (r *reconciler) syncToHost(s Scope, key types.NamespacedName, virtual, host client.Object) error {
	wanted, err := r.kind.want(s, virtual, host)
	switch {
	case err != nil:
		return fmt.Errorf("cannot tell whether %s gets a host copy: %w", key, err)
	case isTerminating(virtual) && r.kind.endsWithHost:
		return r.syncTermination(s, key, virtual, host)
	case !wanted:
		return r.deleteUnwanted(s, key, host)
	case host == nil:
		return r.createHost(s, key, virtual, r.hostKey(key))
	case r.expectations.isAwaited(key, virtual):
		s.Again(expectationLife)
		return nil
	default:
		return r.syncBoth(s, key, virtual, host)
	}
}

// foreign is when somebody else's object stands where the host copy belongs.
func (r *reconciler) reportConflict(s Scope, key types.NamespacedName, virtual client.Object, hostKey types.NamespacedName) error {
	if virtual == nil {
		return nil
	}
	wanted, err := r.kind.want(s, virtual, nil)
	if err != nil || !wanted {
		return err
	}
	return r.recordRefusal(s, virtual, key, &conflictError{hostKey})
}

// orphan is when a host object of ours has no virtual object.
func (r *reconciler) deleteOrphan(s Scope, key types.NamespacedName, host client.Object) error {
	pending := virtualUID(host) == labels.Pending
	if pending {
		if age := s.Now.Sub(host.GetCreationTimestamp().Time); age < pendingLife {
			s.Again(pendingLife - age + time.Second)
			return nil
		}
	}
	if isTerminating(host) || r.kind.outlives {
		return nil
	}
	found, err := getLive(s.Context, r.virtual.client, r.kind.newVirtual(), key)
	if err != nil {
		return fmt.Errorf("cannot make sure that virtual object %s is gone: %w", key, err)
	}
	if found != nil && (pending || found.GetUID() == virtualUID(host)) {
		s.Again(time.Second) // The cache has not seen it yet.
		return nil
	}
	return r.deleteHost(s, key, host, nil, pending)
}

// predecessor is when the host object belongs to a virtual object of the same
// name that is no more. It must go before the new one gets its own.
func (r *reconciler) deletePredecessor(s Scope, key types.NamespacedName, virtual, host client.Object) error {
	if isTerminating(host) {
		return nil
	}
	found, err := getLive(s.Context, r.virtual.client, virtual, key)
	if err != nil {
		return fmt.Errorf("cannot make sure which virtual object %s is there: %w", key, err)
	}
	if found != nil && found.GetUID() == virtualUID(host) {
		s.Again(time.Second) // The cache shows an older one.
		return nil
	}
	return r.deleteHost(s, key, host, nil, false)
}

// unwanted is when there should be no host copy. What the host did with it since it
// was read may be a reason to want it after all.
func (r *reconciler) deleteUnwanted(s Scope, key types.NamespacedName, host client.Object) error {
	if host == nil || isTerminating(host) {
		return nil
	}
	return r.deleteHost(s, key, host, nil, true)
}

// ending is when the deletion of a virtual object has begun that waits for its
// host copy to end, as a pod waits for its kubelet.
func (r *reconciler) syncTermination(s Scope, key types.NamespacedName, virtual, host client.Object) error {
	grace := virtual.GetDeletionGracePeriodSeconds()
	if host == nil {
		if grace != nil && *grace == 0 {
			return nil // Only finalizers keep it.
		}
		return r.deleteVirtual(s, key, virtual, new(int64))
	}
	raised := r.writeUp(s, key, host, virtual)
	if isTerminating(host) && !isShorter(grace, host.GetDeletionGracePeriodSeconds()) {
		return raised
	}
	return errors.Join(raised, r.deleteHost(s, key, host, grace, false))
}

// shorter says that a grace period of a is less than one of b.
func isShorter(a, b *int64) bool {
	return a != nil && b != nil && *a < *b
}

// absent is when a wanted host copy is not there: it was never made, or somebody
// deleted it.
func (r *reconciler) createHost(s Scope, key types.NamespacedName, virtual client.Object, hostKey types.NamespacedName) error {
	if isTerminating(virtual) {
		return nil
	}
	if r.kind.endsWithHost && r.kind.started(virtual) {
		found, err := getLive(s.Context, r.host.client, r.kind.newHost(), hostKey)
		if err != nil {
			return fmt.Errorf("cannot make sure that host object %s is gone: %w", hostKey, err)
		}
		if found == nil {
			return r.deleteVirtual(s, key, virtual, new(int64))
		}
		return r.handleAlreadyExists(s, key, virtual, hostKey, found)
	}
	host, err := r.createHostCopy(s, key, virtual, false)
	switch {
	case err == nil:
		r.expectations.recordWrite(Host, key, host)
		r.onWrite()
		return nil
	case apierrors.IsAlreadyExists(err):
		found, err := getLive(s.Context, r.host.client, r.kind.newHost(), hostKey)
		if err != nil {
			return fmt.Errorf("cannot look at host object %s, which exists: %w", hostKey, err)
		}
		return r.handleAlreadyExists(s, key, virtual, hostKey, found)
	default:
		return errors.Join(r.writeRefusal(s, key, virtual, err), r.recordRefusal(s, virtual, key, err))
	}
}

// refuse writes into a virtual object that it will have no host copy as it is, for
// kinds in which that is a part of the object.
func (r *reconciler) writeRefusal(s Scope, key types.NamespacedName, virtual client.Object, err error) error {
	var no *hostRefusal
	var impossible *translate.RefusedError
	if r.kind.refused == nil || !errors.As(err, &no) && !errors.As(err, &impossible) {
		return nil
	}
	after := deepCopy(virtual)
	r.kind.refused(s, after, r.events.names.toVirtualNames(err.Error(), key, r.hostKey(key)))
	written, err := writeVirtual(s.Context, r.virtual.client, virtual, after)
	if err != nil {
		return fmt.Errorf("cannot write the host's refusal into virtual object %s: %w", key, err)
	}
	if written != nil {
		r.expectations.recordWrite(Virtual, key, written)
		r.onWrite()
	}
	return nil
}

// taken is when the API server has an object where the cache shows none.
func (r *reconciler) handleAlreadyExists(s Scope, key types.NamespacedName, virtual client.Object, hostKey types.NamespacedName, found client.Object) error {
	if found == nil {
		s.Again(10 * time.Millisecond) // It went away in between.
		return nil
	}
	if !r.isCopyOf(s, key, found) {
		return r.recordRefusal(s, virtual, key, &conflictError{hostKey})
	}
	// It is ours: the cache is about to show it.
	r.expectations.recordWrite(Host, key, found)
	s.Again(expectationLife)
	return nil
}

// makeHost creates the host copy of a virtual object.
func (r *reconciler) createHostCopy(s Scope, key types.NamespacedName, virtual client.Object, dryRun bool) (client.Object, error) {
	host := r.kind.newHost()
	translate.Stamp(r.cluster, r.kind.names, key, virtual.GetUID(), host)
	host, err := r.buildHost(s, key, virtual, host)
	if err != nil {
		return nil, err
	}
	options := &client.CreateOptions{DryRun: patchOptions(dryRun).DryRun}
	if err := r.host.client.Create(s.Context, host, options); err != nil {
		return nil, fmt.Errorf("cannot create host object %s: %w", client.ObjectKeyFromObject(host), asHostRefusal(err))
	}
	return host, nil
}

// present is when both copies are there and belong together.
func (r *reconciler) syncBoth(s Scope, key types.NamespacedName, virtual, host client.Object) error {
	if isTerminating(host) {
		raised := r.writeUp(s, key, host, virtual)
		if r.kind.endsWithHost && r.kind.started(virtual) && !isTerminating(virtual) {
			return errors.Join(raised, r.deleteVirtual(s, key, virtual, host.GetDeletionGracePeriodSeconds()))
		}
		return raised
	}
	raised := r.writeUp(s, key, host, virtual)
	lowered := r.writeDown(s, key, virtual, host)
	if lowered != nil {
		lowered = r.recordRefusal(s, virtual, key, lowered)
	}
	return errors.Join(raised, lowered)
}

// tell tells the tenant, on the virtual object, why the host has no copy of it or
// an older one, if that is for the tenant to know. It returns err.
func (r *reconciler) recordRefusal(s Scope, virtual client.Object, key types.NamespacedName, err error) error {
	var foreign *conflictError
	var no *hostRefusal
	var impossible *translate.RefusedError
	if errors.As(err, &foreign) || errors.As(err, &no) || errors.As(err, &impossible) {
		r.events.recordHostRefusal(s.Context, r.kind.name, virtual, r.hostKey(key), err)
	}
	return err
}
