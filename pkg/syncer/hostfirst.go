package syncer

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
)

// CreateHostFirst makes the host copy of a virtual object that is about to be created,
// so that the virtual object can bear from its first moment on what the host
// assigned. It returns the host object, nil if the kind wants no copy, or why the
// host refuses it, which is the tenant's answer then. The copy is pending until
// the virtual object exists; it is collected if that never happens. With dryRun
// the host checks only and keeps nothing.
func (e *Engine) CreateHostFirst(ctx context.Context, kind string, virtual client.Object, dryRun bool) (client.Object, error) {
	r, s, key, err := e.kindForHostFirst(ctx, kind, virtual)
	if err != nil {
		return nil, err
	}
	virtual = deepCopy(virtual)
	virtual.SetUID("") // An object that is not stored yet has none that lasts.
	if wanted, err := r.kind.want(s, virtual, nil); err != nil || !wanted {
		return nil, err
	}
	host, err := r.createHostCopy(s, key, virtual, dryRun)
	if !apierrors.IsAlreadyExists(err) {
		if err == nil && !dryRun {
			r.expectations.recordWrite(Host, key, host)
		}
		return host, err
	}
	return r.reuseOrReplace(s, key, virtual, dryRun, err)
}

// firstTaken is when a host object bears the name already: one that a former
// attempt left, one of a virtual object that was just deleted, one of a virtual
// object that exists, so that the creation is going to fail, or a foreign one.
func (r *reconciler) reuseOrReplace(s Scope, key types.NamespacedName, virtual client.Object, dryRun bool, exists error) (client.Object, error) {
	hostKey := r.hostKey(key)
	host, err := getLive(s.Context, r.host.client, r.kind.newHost(), hostKey)
	if err != nil {
		return nil, fmt.Errorf("cannot look at host object %s, which exists: %w", hostKey, err)
	}
	if host == nil {
		return r.createHostCopy(s, key, virtual, dryRun)
	}
	if !r.isCopyOf(s, key, host) {
		return nil, &conflictError{hostKey}
	}
	stored, err := getLive(s.Context, r.virtual.client, virtual, key)
	if err != nil {
		return nil, fmt.Errorf("cannot look whether virtual object %s exists: %w", key, err)
	}
	if stored != nil {
		return host, nil // The API server is about to say so.
	}
	if virtualUID(host) == labels.Pending && !isTerminating(host) {
		if reused, err := r.patchHostCopy(s, key, virtual, host, dryRun); !apierrors.IsInvalid(err) {
			return reused, err
		}
	}
	if dryRun {
		return nil, exists
	}
	if err := r.deleteHost(s, key, host, nil, true); err != nil {
		return nil, err
	}
	return r.createHostCopy(s, key, virtual, false)
}

// reuse brings a host object into the state that virtual wants and returns it.
func (r *reconciler) patchHostCopy(s Scope, key types.NamespacedName, virtual, host client.Object, dryRun bool) (client.Object, error) {
	after, err := r.buildHost(s, key, virtual, deepCopy(host))
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

// UpdateHostFirst patches the host copy of a virtual object that is about to be
// changed to virtual, and returns it as the host has it then, nil if there is no
// copy or none is wanted. An error is why the host refuses the change. With dryRun
// the host checks only and changes nothing.
func (e *Engine) UpdateHostFirst(ctx context.Context, kind string, virtual client.Object, dryRun bool) (client.Object, error) {
	r, s, key, err := e.kindForHostFirst(ctx, kind, virtual)
	if err != nil {
		return nil, err
	}
	host, err := r.getHostCopy(s, key, virtual)
	if err != nil || host == nil {
		return nil, err
	}
	if dryRun {
		return r.patchHostCopy(s, key, virtual, host, true)
	}
	stored, err := getLive(ctx, r.virtual.client, virtual, key)
	if err != nil {
		return nil, fmt.Errorf("cannot look at virtual object %s: %w", key, err)
	}
	if stored != nil {
		// Until the change is stored, no reconcile may take it back.
		r.expectations.await(key, stored)
	}
	changed, err := r.patchHostCopy(s, key, virtual, host, false)
	if err != nil {
		r.expectations.cancelAwait(key)
	}
	return changed, err
}

// firstCopy is the host copy of a virtual object as the host's API server has it,
// nil if there is none that should follow it.
func (r *reconciler) getHostCopy(s Scope, key types.NamespacedName, virtual client.Object) (client.Object, error) {
	host, err := getLive(s.Context, r.host.client, r.kind.newHost(), r.hostKey(key))
	if err != nil || host == nil {
		return nil, err
	}
	if !r.isCopyOf(s, key, host) || !hasUIDOf(host, virtual) || isTerminating(host) {
		return nil, nil
	}
	wanted, err := r.kind.want(s, virtual, host)
	if err != nil || !wanted {
		return nil, err
	}
	return host, nil
}

// first is what CreateHostFirst and UpdateHostFirst need of a kind.
func (e *Engine) kindForHostFirst(ctx context.Context, kind string, virtual client.Object) (*reconciler, Scope, types.NamespacedName, error) {
	e.mu.Lock()
	r, ok := e.runners[kind]
	e.mu.Unlock()
	if !ok || r.kind.owner != Virtual {
		return nil, Scope{}, types.NamespacedName{}, fmt.Errorf("kind %s is not synced to the host", kind)
	}
	return r.reconciler, r.reconciler.scope(ctx), client.ObjectKeyFromObject(virtual), nil
}

// changeAttempts is how often a change is tried on a host object that others
// change at the same time.
const changeAttempts = 5

// ChangeHostFirst changes the host object behind virtual, of a kind that the host
// owns, before virtual itself is changed. change is called with a copy of the host
// object as its API server has it now, and once more if somebody else was faster.
// An error is why nothing was changed: what change said, the host's refusal, or
// that the host object is not, or no longer, the one that virtual shows. Reconciles
// of virtual wait until its own change has come, or has had time to. With dryRun
// the host checks only and changes nothing.
func (e *Engine) ChangeHostFirst(ctx context.Context, kind string, virtual client.Object, change func(host client.Object) error, dryRun bool) error {
	e.mu.Lock()
	runner, ok := e.runners[kind]
	e.mu.Unlock()
	if !ok || runner.kind.owner != Host || runner.kind.source != nil {
		return fmt.Errorf("kind %s does not show objects of the host", kind)
	}
	r, key := runner.reconciler, client.ObjectKeyFromObject(virtual)
	s := r.scope(ctx)
	for range changeAttempts {
		err := r.changeHostCopy(s, key, virtual, change, dryRun)
		if !apierrors.IsConflict(err) {
			return err
		}
	}
	return apierrors.NewServerTimeout(schema.GroupResource{Resource: kind}, "patch", 1)
}

// changeHost is one attempt of [Engine.ChangeHostFirst].
func (r *reconciler) changeHostCopy(s Scope, key types.NamespacedName, virtual client.Object, change func(client.Object) error, dryRun bool) error {
	host, err := getLive(s.Context, r.host.client, r.kind.newHost(), r.hostKey(key))
	if err != nil {
		return fmt.Errorf("cannot look at host object %s: %w", r.hostKey(key), err)
	}
	if shown, err := r.isShownAs(s, key, virtual, host); err != nil || !shown {
		if err == nil {
			err = &goneError{key}
		}
		return err
	}
	after := deepCopy(host)
	if err := change(after); err != nil {
		return err
	}
	if equality.Semantic.DeepEqual(host, after) {
		return nil
	}
	data, err := mergePatch(host, after)
	if err != nil {
		return fmt.Errorf("cannot tell the difference of host object %s: %w", client.ObjectKeyFromObject(host), err)
	}
	if data, err = withResourceVersion(data, host.GetResourceVersion()); err != nil {
		return fmt.Errorf("cannot tell the difference of host object %s: %w", client.ObjectKeyFromObject(host), err)
	}
	if !dryRun {
		r.expectations.await(key, virtual)
	}
	patched := newEmpty(host)
	if err := r.host.client.Patch(s.Context, patched, client.RawPatch(types.MergePatchType, data), patchOptions(dryRun)); err != nil {
		r.expectations.cancelAwait(key)
		return fmt.Errorf("cannot patch host object %s: %w", client.ObjectKeyFromObject(host), err)
	}
	if !dryRun {
		r.expectations.recordWrite(Host, key, patched)
	}
	return nil
}

// goneError says that a virtual object is not the copy of any host object now.
type goneError struct{ virtual types.NamespacedName }

func (e *goneError) Error() string {
	return fmt.Sprintf("the host object behind %s is gone, or is no longer shown", e.virtual.Name)
}

// shows says whether virtual is the copy of host, as the kind's rules are now.
func (r *reconciler) isShownAs(s Scope, key types.NamespacedName, virtual, host client.Object) (bool, error) {
	if host == nil || isTerminating(host) || !r.isSelected(host) || string(host.GetUID()) != virtual.GetAnnotations()[labels.HostUID] {
		return false, nil
	}
	if origin, ours := r.kind.origin(s, host); !ours || origin != key {
		return false, nil
	}
	return r.kind.want(s, virtual, host)
}

// bound is a merge patch that fails on any other version of its object.
func withResourceVersion(patch []byte, version string) ([]byte, error) {
	fields := map[string]any{}
	if err := json.Unmarshal(patch, &fields); err != nil {
		return nil, err
	}
	metadata, ok := fields["metadata"].(map[string]any)
	if !ok {
		metadata = map[string]any{}
		fields["metadata"] = metadata
	}
	metadata["resourceVersion"] = version
	return json.Marshal(fields)
}

// Say tells the tenant by a warning Event on the virtual object what becomes of
// it. Only Up may use it, and only for what its result makes true: it is said once,
// because the next look finds nothing more to do.
func (s Scope) Say(reason, message string) {
	if s.say != nil {
		s.say(reason, message)
	}
}

// saying is the scope of a kind's Up for an object.
func (r *reconciler) withRecorder(s Scope, virtual client.Object) Scope {
	s.say = func(reason, message string) {
		r.events.record(s.Context, r.kind.name, virtual, tenantEvent{corev1.EventTypeWarning, reason, message})
	}
	return s
}
