package syncer

import (
	"context"
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
)

// ChangeHostFirst changes the host object behind virtual, of a kind that the host owns,
// before virtual itself is changed. change gets a copy of the host object as its API
// server has it now, and is called again if somebody else was faster.
//
// If it returns an error, nothing was changed. The error is that of change, the host's refusal,
// or that virtual is not the copy of that host object. Reconciles of virtual wait until it has
// changed, but no longer than expectationLife. With dryRun the host validates the change and
// stores nothing.
func (e *Engine) ChangeHostFirst(ctx context.Context, kind string, virtual client.Object, change func(host client.Object) error, dryRun bool) error {
	ctx, cancel := context.WithTimeout(ctx, hostFirstTimeout)
	defer cancel()
	e.mu.Lock()
	runner, ok := e.runners[kind]
	e.mu.Unlock()
	if !ok || runner.kind.owner != Host || runner.kind.findOriginal != nil {
		return fmt.Errorf("kind %s has no copies of host objects", kind)
	}
	r, key := runner.reconciler, client.ObjectKeyFromObject(virtual)
	s := r.scope(ctx)
	_, err := r.retryConflicts("patch", func() (client.Object, error) { return nil, r.changeOriginal(s, key, virtual, change, dryRun) })
	return err
}

// changeOriginal makes one attempt of [Engine.ChangeHostFirst].
func (r *reconciler) changeOriginal(s Scope, key types.NamespacedName, virtual client.Object, change func(client.Object) error, dryRun bool) error {
	host, err := getLive(s.Context, r.host.client, r.kind.newHost(), r.hostKey(key))
	if err != nil {
		return fmt.Errorf("cannot get host object %s: %w", r.hostKey(key), err)
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
	fields, err := mergePatch(host, after)
	if err != nil {
		return fmt.Errorf("cannot compute patch for host object %s: %w", client.ObjectKeyFromObject(host), err)
	}
	withResourceVersion(fields, host.GetResourceVersion())
	data, err := json.Marshal(fields)
	if err != nil {
		return fmt.Errorf("cannot encode patch for host object %s: %w", client.ObjectKeyFromObject(host), err)
	}
	if !dryRun {
		r.expectations.await(key, virtual)
	}
	patched := newEmpty(host)
	if err := r.host.client.Patch(s.Context, patched, client.RawPatch(types.MergePatchType, data), writeOptions{dryRun: dryRun}.forPatch()); err != nil {
		r.expectations.cancelAwait(key)
		return fmt.Errorf("cannot patch host object %s: %w", client.ObjectKeyFromObject(host), err)
	}
	if !dryRun {
		r.expectations.recordWrite(Host, key, patched)
	}
	return nil
}

// goneError is returned for a virtual object that is not the copy of any host object now.
type goneError struct{ virtual types.NamespacedName }

func (e *goneError) Error() string {
	return fmt.Sprintf("the host object behind %s is gone, or is no longer shown", e.virtual.Name)
}

// isShownAs reports whether virtual is the copy of host, as the kind's rules are now.
func (r *reconciler) isShownAs(s Scope, key types.NamespacedName, virtual, host client.Object) (bool, error) {
	if host == nil || isTerminating(host) || !r.isSelected(host) || string(host.GetUID()) != virtual.GetAnnotations()[labels.HostUID] {
		return false, nil
	}
	if !r.isCopyOf(s, key, host) {
		return false, nil
	}
	s, err := r.load(s, virtual, host)
	if err != nil {
		return false, err
	}
	return r.kind.want(s, virtual, host)
}
