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

// changeAttempts is how often a change is tried on a host object that others
// change at the same time.
const changeAttempts = 5

// ChangeFirst changes the host object behind virtual, of a kind that the host
// owns, before virtual itself is changed. change is called with a copy of the host
// object as its API server has it now, and once more if somebody else was faster.
// An error is why nothing was changed: what change said, the host's refusal, or
// that the host object is not, or no longer, the one that virtual shows. Reconciles
// of virtual wait until its own change has come, or has had time to. With dryRun
// the host checks only and changes nothing.
func (e *Engine) ChangeFirst(ctx context.Context, kind string, virtual client.Object, change func(host client.Object) error, dryRun bool) error {
	e.mu.Lock()
	runner, ok := e.runners[kind]
	e.mu.Unlock()
	if !ok || runner.kind.owner != Host || runner.kind.source != nil {
		return fmt.Errorf("kind %s does not show objects of the host", kind)
	}
	r, key := runner.reconciler, client.ObjectKeyFromObject(virtual)
	s := r.scope(ctx)
	for range changeAttempts {
		err := r.changeHost(s, key, virtual, change, dryRun)
		if !apierrors.IsConflict(err) {
			return err
		}
	}
	return apierrors.NewServerTimeout(schema.GroupResource{Resource: kind}, "patch", 1)
}

// changeHost is one attempt of [Engine.ChangeFirst].
func (r *reconciler) changeHost(s Scope, key types.NamespacedName, virtual client.Object, change func(client.Object) error, dryRun bool) error {
	host, err := live(s.Context, r.host.client, r.kind.newHost(), r.hostKey(key))
	if err != nil {
		return fmt.Errorf("cannot look at host object %s: %w", r.hostKey(key), err)
	}
	if shown, err := r.shows(s, key, virtual, host); err != nil || !shown {
		if err == nil {
			err = &goneError{key}
		}
		return err
	}
	after := copyOf(host)
	if err := change(after); err != nil {
		return err
	}
	if equality.Semantic.DeepEqual(host, after) {
		return nil
	}
	data, err := difference(host, after)
	if err != nil {
		return fmt.Errorf("cannot tell the difference of host object %s: %w", client.ObjectKeyFromObject(host), err)
	}
	if data, err = bound(data, host.GetResourceVersion()); err != nil {
		return fmt.Errorf("cannot tell the difference of host object %s: %w", client.ObjectKeyFromObject(host), err)
	}
	if !dryRun {
		r.expectations.await(key, virtual)
	}
	patched := emptied(host)
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
func (r *reconciler) shows(s Scope, key types.NamespacedName, virtual, host client.Object) (bool, error) {
	if host == nil || terminating(host) || !r.visible(host) || string(host.GetUID()) != virtual.GetAnnotations()[labels.HostUID] {
		return false, nil
	}
	if origin, ours := r.kind.origin(s, host); !ours || origin != key {
		return false, nil
	}
	return r.kind.want(s, virtual, host)
}

// bound is a merge patch that fails on any other version of its object.
func bound(patch []byte, version string) ([]byte, error) {
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
func (r *reconciler) saying(s Scope, virtual client.Object) Scope {
	s.say = func(reason, message string) {
		r.events.record(s.Context, r.kind.name, virtual, tenantEvent{corev1.EventTypeWarning, reason, message})
	}
	return s
}
