package syncer

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
)

// CreateFirst makes the host copy of a virtual object that is about to be created,
// so that the virtual object can bear from its first moment on what the host
// assigned. It returns the host object, nil if the kind wants no copy, or why the
// host refuses it, which is the tenant's answer then. The copy is pending until
// the virtual object exists; it is collected if that never happens. With dryRun
// the host checks only and keeps nothing.
func (e *Engine) CreateFirst(ctx context.Context, kind string, virtual client.Object, dryRun bool) (client.Object, error) {
	r, s, key, err := e.first(ctx, kind, virtual)
	if err != nil {
		return nil, err
	}
	virtual = copyOf(virtual)
	virtual.SetUID("") // An object that is not stored yet has none that lasts.
	if wanted, err := r.kind.want(s, virtual, nil); err != nil || !wanted {
		return nil, err
	}
	host, err := r.makeHost(s, key, virtual, dryRun)
	if !apierrors.IsAlreadyExists(err) {
		if err == nil && !dryRun {
			r.expectations.recordWrite(Host, key, host)
		}
		return host, err
	}
	return r.firstTaken(s, key, virtual, dryRun, err)
}

// firstTaken is when a host object bears the name already: one that a former
// attempt left, one of a virtual object that was just deleted, one of a virtual
// object that exists, so that the creation is going to fail, or a foreign one.
func (r *reconciler) firstTaken(s Scope, key types.NamespacedName, virtual client.Object, dryRun bool, exists error) (client.Object, error) {
	hostKey := r.hostKey(key)
	host, err := live(s.Context, r.host.client, r.kind.newHost(), hostKey)
	if err != nil {
		return nil, fmt.Errorf("cannot look at host object %s, which exists: %w", hostKey, err)
	}
	if host == nil {
		return r.makeHost(s, key, virtual, dryRun)
	}
	if !r.made(s, key, host) {
		return nil, &foreignError{hostKey}
	}
	stored, err := live(s.Context, r.virtual.client, virtual, key)
	if err != nil {
		return nil, fmt.Errorf("cannot look whether virtual object %s exists: %w", key, err)
	}
	if stored != nil {
		return host, nil // The API server is about to say so.
	}
	if virtualUID(host) == labels.Pending && !terminating(host) {
		if reused, err := r.reuse(s, key, virtual, host, dryRun); !apierrors.IsInvalid(err) {
			return reused, err
		}
	}
	if dryRun {
		return nil, exists
	}
	if err := r.deleteHost(s, key, host, nil, true); err != nil {
		return nil, err
	}
	return r.makeHost(s, key, virtual, false)
}

// reuse brings a host object into the state that virtual wants and returns it.
func (r *reconciler) reuse(s Scope, key types.NamespacedName, virtual, host client.Object, dryRun bool) (client.Object, error) {
	after, err := r.wantedHost(s, key, virtual, copyOf(host))
	if err != nil {
		return nil, err
	}
	patched, err := patchHost(s.Context, r.host.client, host, after, dryRun)
	switch {
	case err != nil:
		return nil, fmt.Errorf("cannot patch host object %s: %w", client.ObjectKeyFromObject(host), err)
	case patched == nil:
		return host, nil
	case !dryRun:
		r.expectations.recordWrite(Host, key, patched)
	}
	return patched, nil
}

// UpdateFirst patches the host copy of a virtual object that is about to be
// changed to virtual, and returns it as the host has it then, nil if there is no
// copy or none is wanted. An error is why the host refuses the change. With dryRun
// the host checks only and changes nothing.
func (e *Engine) UpdateFirst(ctx context.Context, kind string, virtual client.Object, dryRun bool) (client.Object, error) {
	r, s, key, err := e.first(ctx, kind, virtual)
	if err != nil {
		return nil, err
	}
	host, err := r.firstCopy(s, key, virtual)
	if err != nil || host == nil {
		return nil, err
	}
	if dryRun {
		return r.reuse(s, key, virtual, host, true)
	}
	stored, err := live(ctx, r.virtual.client, virtual, key)
	if err != nil {
		return nil, fmt.Errorf("cannot look at virtual object %s: %w", key, err)
	}
	if stored != nil {
		// Until the change is stored, no reconcile may take it back.
		r.expectations.await(key, stored)
	}
	changed, err := r.reuse(s, key, virtual, host, false)
	if err != nil {
		r.expectations.cancelAwait(key)
	}
	return changed, err
}

// firstCopy is the host copy of a virtual object as the host's API server has it,
// nil if there is none that should follow it.
func (r *reconciler) firstCopy(s Scope, key types.NamespacedName, virtual client.Object) (client.Object, error) {
	host, err := live(s.Context, r.host.client, r.kind.newHost(), r.hostKey(key))
	if err != nil || host == nil {
		return nil, err
	}
	if !r.made(s, key, host) || !belongs(host, virtual) || terminating(host) {
		return nil, nil
	}
	wanted, err := r.kind.want(s, virtual, host)
	if err != nil || !wanted {
		return nil, err
	}
	return host, nil
}

// first is what CreateFirst and UpdateFirst need of a kind.
func (e *Engine) first(ctx context.Context, kind string, virtual client.Object) (*reconciler, Scope, types.NamespacedName, error) {
	e.mu.Lock()
	r, ok := e.runners[kind]
	e.mu.Unlock()
	if !ok || r.kind.owner != Virtual {
		return nil, Scope{}, types.NamespacedName{}, fmt.Errorf("kind %s is not synced to the host", kind)
	}
	return r.reconciler, r.reconciler.scope(ctx), client.ObjectKeyFromObject(virtual), nil
}
