package syncer

import (
	"context"
	"fmt"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// hostFirstAttempts is how often a host-first write is tried on a host object that others
// change at the same time.
const hostFirstAttempts = 5

// hostFirstTimeout bounds a host-first write. The virtual API server gives up a request after a minute, and
// the tenant would then not learn that the host does not respond.
const hostFirstTimeout = reconcileTimeout

// CreateHostFirst creates the host copy of a virtual object that is about to be created. So the
// object has what the host assigned from the start. It returns the host copy, nil
// if the kind wants none, or the host's refusal. The copy is pending until the virtual object
// exists, and is deleted if that never happens. With dryRun the host validates the copy and
// stores nothing.
func (e *Engine) CreateHostFirst(ctx context.Context, kind string, virtual client.Object, dryRun bool) (client.Object, error) {
	ctx, cancel := context.WithTimeout(ctx, hostFirstTimeout)
	defer cancel()
	r, s, key, err := e.kindForHostFirst(ctx, kind, virtual)
	if err != nil {
		return nil, err
	}
	virtual = deepCopy(virtual)
	virtual.SetUID("") // The UID of an object that is not stored yet may still change.
	if s, err = r.load(s, virtual, nil); err != nil {
		return nil, err
	}
	if wanted, err := r.kind.want(s, virtual, nil); err != nil || !wanted {
		return nil, err
	}
	if !dryRun {
		if err := r.unstored.add(key, s.Now); err != nil {
			return nil, err
		}
	}
	// The host returns a conflict if other creates have changed the same quota three times.
	host, err := r.retryConflicts("create", func() (client.Object, error) {
		return r.createOrReuse(s, key, virtual, writeOptions{dryRun: dryRun})
	})
	if err != nil && !dryRun {
		r.unstored.forget(key)
	}
	return host, err
}

// retryConflicts repeats a host-first write while it fails with a conflict. Unlike
// RetryOnConflict of client-go it does not sleep, because a tenant's request waits for it.
func (r *reconciler) retryConflicts(verb string, attempt func() (client.Object, error)) (client.Object, error) {
	for range hostFirstAttempts {
		if host, err := attempt(); !apierrors.IsConflict(err) {
			return host, err
		}
	}
	return nil, apierrors.NewServerTimeout(schema.GroupResource{Resource: r.kind.name}, verb, 1)
}

// createOrReuse makes one attempt of [Engine.CreateHostFirst]. It creates the host copy, or
// reuses the one that exists.
func (r *reconciler) createOrReuse(s Scope, key types.NamespacedName, virtual client.Object, o writeOptions) (client.Object, error) {
	if r.host.store.Get(r.hostKey(key)) != nil {
		// A create that fails with AlreadyExists still counts against a quota of the host for
		// minutes. Retries would exhaust it.
		return r.reuseOrReplace(s, key, virtual, o)
	}
	host, err := r.createAndRecord(s, key, virtual, o)
	if apierrors.IsAlreadyExists(err) {
		return r.reuseOrReplace(s, key, virtual, o)
	}
	return host, err
}

// createAndRecord creates a host copy, and records that the cache does not show it yet.
func (r *reconciler) createAndRecord(s Scope, key types.NamespacedName, virtual client.Object, o writeOptions) (client.Object, error) {
	created, err := r.createHostCopy(s, key, virtual, o)
	if err == nil && !o.dryRun {
		r.expectations.recordWrite(Host, key, created)
	}
	return created, err
}

// reuseOrReplace returns the host copy of a virtual object that is about to be created, when
// the host already has an object of that name. That object may be the copy of an earlier
// attempt, of a deleted object, or of one that exists. It may also not be ours.
func (r *reconciler) reuseOrReplace(s Scope, key types.NamespacedName, virtual client.Object, o writeOptions) (client.Object, error) {
	hostKey := r.hostKey(key)
	host, err := getLive(s.Context, r.host.client, r.kind.newHost(), hostKey)
	if err != nil {
		return nil, fmt.Errorf("cannot get host object %s, which exists: %w", hostKey, err)
	}
	if host == nil {
		return r.createAndRecord(s, key, virtual, o)
	}
	if !r.isCopyOf(s, key, host) {
		return nil, &conflictError{hostKey}
	}
	stored, err := getLive(s.Context, r.virtual.client, virtual, key)
	if err != nil {
		return nil, fmt.Errorf("cannot get virtual object %s: %w", key, err)
	}
	if stored != nil {
		return host, nil // The virtual API server is about to return AlreadyExists.
	}
	if virtualUID(host) == labels.Pending && !isTerminating(host) {
		if reused, err := r.patchHostCopy(s, key, virtual, host, o); !apierrors.IsInvalid(err) {
			return reused, err
		}
	}
	if isTerminating(host) || o.dryRun {
		return nil, &stillDeletingError{key}
	}
	return r.replaceHostCopy(s, key, virtual, host)
}

// replaceHostCopy deletes a host copy and creates one for a virtual object that is about to
// be created.
func (r *reconciler) replaceHostCopy(s Scope, key types.NamespacedName, virtual, host client.Object) (client.Object, error) {
	if err := r.deleteHost(s, key, host, deleteOptions{ifUnchanged: true}); err != nil {
		return nil, err
	}
	left, err := getLive(s.Context, r.host.client, r.kind.newHost(), r.hostKey(key))
	if err != nil {
		return nil, fmt.Errorf("cannot verify that host object %s is deleted: %w", r.hostKey(key), err)
	}
	if left != nil {
		return nil, &stillDeletingError{key}
	}
	created, err := r.createAndRecord(s, key, virtual, writeOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil, &stillDeletingError{key}
	}
	return created, err
}

// deletingRetrySeconds is the Retry-After of a create that waits until the host has deleted
// the copy of an earlier object. kubectl retries ten times.
const deletingRetrySeconds = 5

// stillDeletingError is returned while the host is still deleting the copy of an earlier object
// of the same name. Clients retry the request.
type stillDeletingError struct{ key types.NamespacedName }

// Error implements error.
func (e *stillDeletingError) Error() string {
	return fmt.Sprintf("the host is still deleting the copy of an earlier object %s", e.key)
}

// TenantMessage returns a text without names of the host.
func (e *stillDeletingError) TenantMessage() string {
	return "the host cluster is still deleting the copy of an earlier object of this name"
}

// Status implements apierrors.APIStatus.
func (e *stillDeletingError) Status() metav1.Status {
	return metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusServiceUnavailable, Reason: metav1.StatusReasonServiceUnavailable,
		Message: e.Error(),
		Details: &metav1.StatusDetails{RetryAfterSeconds: deletingRetrySeconds},
	}
}

// patchHostCopy updates a host copy from its virtual object and returns it.
func (r *reconciler) patchHostCopy(s Scope, key types.NamespacedName, virtual, host client.Object, o writeOptions) (client.Object, error) {
	after, err := r.buildHost(s, key, virtual, deepCopy(host))
	if err != nil {
		return nil, err
	}
	if equalBesidesStatus(host, after) {
		return host, nil
	}
	if o.awaits != "" {
		translate.SetAnnotation(after, labels.Awaits, o.awaits)
	}
	undo, err := r.reserve(after, o)
	if err != nil {
		return nil, fmt.Errorf("cannot patch host object %s: %w", client.ObjectKeyFromObject(host), err)
	}
	patched, err := patchHost(s.Context, r.host.client, host, after, o)
	if err != nil {
		undo()
		return nil, fmt.Errorf("cannot patch host object %s: %w", client.ObjectKeyFromObject(host), err)
	}
	if !o.dryRun {
		r.expectations.recordWrite(Host, key, patched)
	}
	return patched, nil
}

// UpdateHostFirst applies a pending change of a virtual object to its host copy and
// returns the copy. It returns nil if there is no copy to update, or the host's refusal.
// Reconciles on all replicas wait until the virtual object has changed, but no longer than
// expectationLife. With dryRun the host validates the change and stores nothing.
func (e *Engine) UpdateHostFirst(ctx context.Context, kind string, virtual client.Object, dryRun bool) (client.Object, error) {
	ctx, cancel := context.WithTimeout(ctx, hostFirstTimeout)
	defer cancel()
	r, s, key, err := e.kindForHostFirst(ctx, kind, virtual)
	if err != nil {
		return nil, err
	}
	return r.retryConflicts("patch", func() (client.Object, error) { return r.updateHostCopy(s, key, virtual, dryRun) })
}

// updateHostCopy makes one attempt of [Engine.UpdateHostFirst].
func (r *reconciler) updateHostCopy(s Scope, key types.NamespacedName, virtual client.Object, dryRun bool) (client.Object, error) {
	host, s, err := r.getHostCopy(s, key, virtual)
	if err != nil || host == nil {
		return nil, err
	}
	o := writeOptions{dryRun: dryRun}
	if !dryRun {
		stored, err := getLive(s.Context, r.virtual.client, virtual, key)
		if err != nil {
			return nil, fmt.Errorf("cannot get virtual object %s: %w", key, err)
		}
		if stored != nil {
			o.awaits = stored.GetResourceVersion()
		}
	}
	return r.patchHostCopy(s, key, virtual, host, o)
}

// getHostCopy returns the host copy of a virtual object as the host's API server has it, and
// the scope with the loaded state. The copy is nil if none should follow the object.
func (r *reconciler) getHostCopy(s Scope, key types.NamespacedName, virtual client.Object) (client.Object, Scope, error) {
	host, err := getLive(s.Context, r.host.client, r.kind.newHost(), r.hostKey(key))
	if err != nil || host == nil {
		return nil, s, err
	}
	if !r.isCopyOf(s, key, host) || !hasUIDOf(host, virtual) || isTerminating(host) {
		return nil, s, nil
	}
	if s, err = r.load(s, virtual, host); err != nil {
		return nil, s, err
	}
	wanted, err := r.kind.want(s, virtual, host)
	if err != nil || !wanted {
		return nil, s, err
	}
	return host, s, nil
}

// kindForHostFirst returns what CreateHostFirst and UpdateHostFirst need of a kind.
func (e *Engine) kindForHostFirst(ctx context.Context, kind string, virtual client.Object) (*reconciler, Scope, types.NamespacedName, error) {
	e.mu.Lock()
	r, ok := e.runners[kind]
	e.mu.Unlock()
	if !ok || r.kind.owner != Virtual {
		return nil, Scope{}, types.NamespacedName{}, fmt.Errorf("kind %s is not synced to the host", kind)
	}
	return r.reconciler, r.reconciler.scope(ctx), client.ObjectKeyFromObject(virtual), nil
}
