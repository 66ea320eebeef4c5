package customresources

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/sublet-dev/sublet/api/syncz"
	"github.com/sublet-dev/sublet/pkg/app/patches"
	"github.com/sublet-dev/sublet/pkg/custom"
	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/syncer/kinds"
)

// Reasons why a kind is not synced.
var errTenantsDefinition = errors.New("the virtual cluster has a definition of that name which is the tenant's; the tenant has to delete it")

var errNoDefinition = errors.New("the host has no definition of that name")

var errNoAPI = fmt.Errorf("%w, and no aggregated API serves the kind", errNoDefinition)

// errNotServed also applies to a definition that was just created.
var errNotServed = errors.New("one of the two API servers does not serve it; see the conditions of both definitions")

// work reconciles definitions one after the other until the queue is shut down.
func (c *Controller) work(ctx context.Context) {
	for {
		resource, done := c.queue.Get()
		if done {
			return
		}
		err := c.reconcile(ctx, resource)
		c.record(resource, err)
		if _, refused := errors.AsType[*refusedError](err); err == nil || refused {
			c.queue.Forget(resource) // After a refusal, only a change of a definition helps.
		} else if ctx.Err() == nil {
			c.queue.AddRateLimited(resource)
		}
		if host, synced := c.host[resource].get(); synced && host == nil {
			c.queue.AddAfter(resource, c.period()) // Aggregated APIs cannot be watched.
		}
		c.queue.Done(resource)
	}
}

// refusedError is returned if a kind cannot be synced with its present definitions. A retry does
// not help.
type refusedError struct{ cause error }

// Error returns the cause.
func (e *refusedError) Error() string { return e.cause.Error() }

// Unwrap returns the cause.
func (e *refusedError) Unwrap() error { return e.cause }

// reconcile updates the copy of one definition, and then starts or stops the sync of its
// objects.
func (c *Controller) reconcile(ctx context.Context, resource string) error {
	k := c.Definitions.kinds[resource]
	host, hostSynced := c.host[resource].get()
	virtual, virtualSynced := c.Definitions.watches[resource].get()
	switch {
	case !hostSynced || !virtualSynced:
		return nil
	case virtual != nil && !custom.IsCopy(virtual):
		c.stopSyncing(resource)
		return &refusedError{errTenantsDefinition}
	case host == nil:
		var err error
		if host, err = c.findAggregated(ctx, k, virtual); err != nil {
			return err
		}
	}
	wanted, err := custom.NewDefinition(host, virtual, k.wanted)
	if err != nil {
		c.stopSyncing(resource)
		return &refusedError{err}
	}
	if virtual != nil && !custom.HasSameNames(virtual, wanted.Copy) {
		return c.replace(ctx, k, host, virtual, wanted.Copy)
	}
	changed, err := c.write(ctx, virtual, wanted.Copy)
	if err != nil || changed {
		return err // The watch shows what was written.
	}
	return c.startIfServed(k, host, virtual, wanted.Version)
}

// startIfServed starts the sync of a kind once both API servers serve it.
func (c *Controller) startIfServed(k kind, host, virtual *apiextensionsv1.CustomResourceDefinition, version string) error {
	if !custom.IsServed(virtual) || !custom.IsServed(host) {
		c.stopSyncing(k.resource)
		return &refusedError{errNotServed}
	}
	return c.start(k, host, virtual, version)
}

// endKind stops syncing a kind that the host no longer has, and returns cause as a refusal.
func (c *Controller) endKind(ctx context.Context, k kind, virtual *apiextensionsv1.CustomResourceDefinition, cause error) error {
	c.stopSyncing(k.resource)
	if err := c.deleteCopy(ctx, k, virtual); err != nil {
		return err
	}
	return &refusedError{cause}
}

// replace deletes the copy of a definition that was made again on the host with another kind or
// scope. The watch then shows that there is none. It refuses this for objects of the tenant.
func (c *Controller) replace(ctx context.Context, k kind, host, virtual, wanted *apiextensionsv1.CustomResourceDefinition) error {
	c.stopSyncing(k.resource)
	if k.fromHost == nil {
		return &refusedError{fmt.Errorf("on the host it now has the kind %s and the scope %s, and the tenant's objects have %s and %s; "+
			"set %s.enabled to false, let the tenant delete the definition with its objects, and set it to true again",
			wanted.Spec.Names.Kind, wanted.Spec.Scope, virtual.Spec.Names.Kind, virtual.Spec.Scope, k.setting)}
	}
	if isFromAPI(host) {
		return c.deleteVirtual(ctx, virtual) // Discovery has just shown it.
	}
	live, err := c.Host.ApiextensionsV1().CustomResourceDefinitions().Get(ctx, k.resource, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err), err == nil && live.UID != host.UID:
		return nil // The cache is stale. The watch will show what there is now.
	case err != nil:
		return fmt.Errorf("cannot read definition %s of the host: %w", k.resource, err)
	}
	return c.deleteVirtual(ctx, virtual)
}

// write creates or updates the virtual definition. changed reports whether it did. Before the schema changes, it stops
// syncing the kind: the plan that runs knows no field that the new schema adds. The kind starts again once the
// watch shows the new definition. After an error that may take several retries, as the server may have written it. A
// definition that the server refuses stops nothing.
func (c *Controller) write(ctx context.Context, virtual, wanted *apiextensionsv1.CustomResourceDefinition) (changed bool, err error) {
	if virtual == nil {
		_, err := c.Virtual.ApiextensionsV1().CustomResourceDefinitions().Create(ctx, wanted, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			return true, nil // The watch does not show it yet.
		}
		if err != nil {
			return false, fmt.Errorf("cannot create definition %s: %w", wanted.Name, err)
		}
		return true, nil
	}
	after := virtual.DeepCopy()
	after.Spec, after.Annotations = wanted.Spec, wanted.Annotations
	if apiequality.Semantic.DeepEqual(after, virtual) {
		return false, nil
	}
	if !apiequality.Semantic.DeepEqual(after.Spec, virtual.Spec) {
		try := metav1.UpdateOptions{DryRun: []string{metav1.DryRunAll}}
		if _, err := c.Virtual.ApiextensionsV1().CustomResourceDefinitions().Update(ctx, after, try); err != nil {
			return false, fmt.Errorf("cannot update definition %s: %w", wanted.Name, err)
		}
		c.stopSyncing(virtual.Name)
	}
	written, err := c.Virtual.ApiextensionsV1().CustomResourceDefinitions().Update(ctx, after, metav1.UpdateOptions{})
	if err != nil {
		return false, fmt.Errorf("cannot update definition %s: %w", wanted.Name, err)
	}
	// No event follows if the API server has dropped all that differs.
	return !apiequality.Semantic.DeepEqual(written.Spec, virtual.Spec) || !maps.Equal(written.Annotations, virtual.Annotations), nil
}

// deleteCopy deletes the copy of a definition that the host no longer has. It keeps the
// definition of a kind of the tenant, because deleting it would delete the tenant's objects.
func (c *Controller) deleteCopy(ctx context.Context, k kind, virtual *apiextensionsv1.CustomResourceDefinition) error {
	if k.fromHost == nil || virtual == nil || !custom.IsCopy(virtual) {
		return nil
	}
	_, err := c.Host.ApiextensionsV1().CustomResourceDefinitions().Get(ctx, k.resource, metav1.GetOptions{})
	if !apierrors.IsNotFound(err) {
		return err // The cache is stale, or the host does not respond.
	}
	return c.deleteVirtual(ctx, virtual)
}

// deleteVirtual deletes a definition of the virtual cluster, with its objects.
func (c *Controller) deleteVirtual(ctx context.Context, virtual *apiextensionsv1.CustomResourceDefinition) error {
	err := c.Virtual.ApiextensionsV1().CustomResourceDefinitions().Delete(ctx, virtual.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &virtual.UID}})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("cannot delete definition %s: %w", virtual.Name, err)
	}
	return nil
}

// start syncs the objects of a kind with its present definition. It does nothing if that is
// running already.
func (c *Controller) start(k kind, host, virtual *apiextensionsv1.CustomResourceDefinition, version string) error {
	state := strings.Join([]string{
		version, string(host.UID), string(virtual.UID), strconv.FormatInt(virtual.Generation, 10),
	}, " ")
	if c.running[k.resource].state == state {
		return nil
	}
	o := kinds.CustomOptions{
		Resource: k.resource, Cluster: c.Cluster,
		Kind:      schema.GroupVersionKind{Group: virtual.Spec.Group, Version: version, Kind: virtual.Spec.Names.Kind},
		HasStatus: custom.HasStatus(virtual, version),
	}
	all, err := c.newKinds(k, o, virtual)
	c.stopSyncing(k.resource)
	if err != nil {
		return &refusedError{err}
	}
	added := runningKind{state: state, fromAPI: isFromAPI(host)}
	for _, kind := range all {
		if err := c.Engine.Add(kind); err != nil {
			c.running[k.resource] = added
			c.stopSyncing(k.resource)
			return fmt.Errorf("cannot sync %s: %w", kind.Name(), err)
		}
		added.names = append(added.names, kind.Name())
	}
	c.running[k.resource] = added
	c.Log.Info("Custom resource synced", "resource", k.resource, "version", version)
	return nil
}

// newKinds returns the kinds of the engine that sync a kind of custom resources.
func (c *Controller) newKinds(k kind, o kinds.CustomOptions, virtual *apiextensionsv1.CustomResourceDefinition) ([]syncer.Kind, error) {
	set, err := k.compilePatches(virtual, o.Kind.Version)
	if err != nil {
		return nil, err
	}
	if k.fromHost != nil {
		return []syncer.Kind{patches.ApplyTo(kinds.HostCustomResource(o, *k.fromHost), set)}, nil
	}
	o.Plan, err = c.Definitions.Plan(k.resource)
	if err == nil && o.Plan == nil {
		err = errTenantsDefinition
	}
	if err != nil {
		return nil, err
	}
	o.PatchContent = patches.Content(set)
	all := kinds.CustomResources(o)
	all[0] = patches.ApplyTo(all[0], set)
	return all, nil
}

// stopSyncing stops syncing the objects of a kind.
func (c *Controller) stopSyncing(resource string) {
	for _, name := range slices.Backward(c.running[resource].names) {
		c.Engine.Drop(name)
	}
	delete(c.running, resource)
}

// record records why a kind is not synced, nil if it is synced.
func (c *Controller) record(resource string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.problems[resource]
	if err != nil && (before == nil || before.Error() != err.Error()) {
		c.Log.Info("Custom resource not synced", "resource", resource, "reason", err.Error())
	}
	c.problems[resource] = err
}

// Checks returns the health of each kind.
func (c *Controller) Checks() []syncz.Check {
	c.mu.Lock()
	defer c.mu.Unlock()
	var checks []syncz.Check
	for _, resource := range c.Definitions.resources() {
		check := syncz.Check{Name: "definition " + resource, Healthy: c.problems[resource] == nil}
		if !check.Healthy {
			check.Message = "not synced"
			check.Details = []string{c.problems[resource].Error()}
		}
		checks = append(checks, check)
	}
	return checks
}
