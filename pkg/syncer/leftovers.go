package syncer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/api/syncz"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// Leftover is a kind that is switched off and may still have copies. Those of virtual objects are on the
// host, and those of host objects in the virtual cluster.
type Leftover struct {
	// Kind is the kind.
	Kind Kind
	// Keep keeps and reports the copies, because they hold data. Default: they are deleted.
	Keep bool
	// Quiet suppresses the report of a missing permission, and of a kind without copies. It is for
	// kinds that are off by default and that most clusters never had.
	Quiet bool
}

// leftoverRetry is the pause before a sweep is tried again.
const leftoverRetry = 30 * time.Second

// errOnHold is the reason of a sweep that waits for the store guard.
var errOnHold = errors.New("deletes on the host are on hold")

// leftovers deletes the copies of kinds that are switched off, once per leader term.
type leftovers struct {
	kinds      []Leftover
	client     client.Client // of the host
	virtual    client.Client
	scheme     *runtime.Scheme
	cluster    translate.Cluster
	clock      clock.Clock
	log        logr.Logger
	holdReason func() string // why nothing may be deleted, empty if it may

	mu     sync.Mutex
	checks map[string]syncz.Check // name of the kind -> its result
}

// run sweeps all kinds, and retries those that fail until ctx ends. It gives up on a kind for
// which it lacks a permission.
func (l *leftovers) run(ctx context.Context) {
	pending := l.kinds
	for {
		var failed []Leftover
		for _, leftover := range pending {
			kept, err := l.sweep(ctx, leftover)
			l.record(leftover, kept, err)
			if err != nil && !apierrors.IsForbidden(err) {
				failed = append(failed, leftover)
			}
		}
		if pending = failed; len(pending) == 0 {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-l.clock.After(leftoverRetry):
		}
	}
}

// sweep deletes the copies of a kind. If the kind keeps them, it returns their names instead. A
// failed delete does not stop it, but a hold does.
func (l *leftovers) sweep(ctx context.Context, leftover Leftover) (kept []string, err error) {
	if leftover.Kind.owner == Host {
		return nil, l.sweepVirtual(ctx, leftover.Kind)
	}
	gvk, err := apiutil.GVKForObject(leftover.Kind.newHost(), l.scheme)
	if err != nil {
		return nil, fmt.Errorf("cannot find the type of %s: %w", leftover.Kind.name, err)
	}
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(gvk.GroupVersion().WithKind(gvk.Kind + "List"))
	err = l.client.List(ctx, list, client.InNamespace(namespaceOf(l.cluster, leftover.Kind)), client.MatchingLabelsSelector{Selector: oursSelector(l.cluster)})
	switch {
	case meta.IsNoMatchError(err):
		return nil, nil // The host does not serve the kind, so it has no copies.
	case err != nil:
		return nil, fmt.Errorf("cannot list host %s: %w", leftover.Kind.name, err)
	}
	var failures []error
	for i := range list.Items {
		object := &list.Items[i]
		object.SetGroupVersionKind(gvk)
		if _, _, ours := translate.Origin(l.cluster, leftover.Kind.names, object); !ours || isTerminating(object) {
			continue
		}
		if leftover.Keep {
			kept = append(kept, object.GetName())
			continue
		}
		if l.holdReason() != "" {
			return kept, errOnHold
		}
		err := l.client.Delete(ctx, object, client.Preconditions{UID: new(object.GetUID())})
		if client.IgnoreNotFound(err) != nil {
			failures = append(failures, fmt.Errorf("cannot delete host %s %s: %w", leftover.Kind.name, object.GetName(), err))
		}
	}
	return kept, errors.Join(failures...)
}

// sweepVirtual deletes the virtual copies of a kind of the host. The tenant would take them for what the host
// has: the default class of new objects, or the room that a scheduler counts on.
func (l *leftovers) sweepVirtual(ctx context.Context, kind Kind) error {
	gvk, err := apiutil.GVKForObject(kind.newVirtual(), l.scheme)
	if err != nil {
		return fmt.Errorf("cannot find the type of %s: %w", kind.name, err)
	}
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(gvk.GroupVersion().WithKind(gvk.Kind + "List"))
	err = l.virtual.List(ctx, list)
	switch {
	case meta.IsNoMatchError(err), apierrors.IsNotFound(err):
		return nil // The virtual cluster does not serve the kind, so it has no copies.
	case err != nil:
		return fmt.Errorf("cannot list virtual %s: %w", kind.name, err)
	}
	var failures []error
	for i := range list.Items {
		object := &list.Items[i]
		object.SetGroupVersionKind(gvk)
		if object.Annotations[labels.HostUID] == "" || isTerminating(object) {
			continue
		}
		err := l.virtual.Delete(ctx, object, client.Preconditions{UID: new(object.GetUID())})
		if client.IgnoreNotFound(err) != nil {
			failures = append(failures, fmt.Errorf("cannot delete virtual %s %s: %w", kind.name, object.GetName(), err))
		}
	}
	return errors.Join(failures...)
}

// namespaceOf returns the namespace to list the copies of a kind in, empty for all. All copies
// of a kind are in the host namespace, or none is, so any key shows it.
func namespaceOf(cluster translate.Cluster, kind Kind) string {
	anyKey := types.NamespacedName{Namespace: "x", Name: "x"}
	if kind.names(cluster, anyKey).Namespace != cluster.Namespace {
		return ""
	}
	return cluster.Namespace
}

// record logs the result of a sweep and keeps it for the checks.
func (l *leftovers) record(leftover Leftover, kept []string, err error) {
	name := leftover.Kind.name
	check := syncz.Check{Name: "switched off: " + name, Healthy: true}
	command := fmt.Sprintf("kubectl -n %s delete %s -l %s=%s", l.cluster.Namespace, name, labels.Cluster, l.cluster.UID)
	switch {
	case apierrors.IsForbidden(err) && leftover.Quiet:
		return
	case err == nil && len(kept) == 0 && leftover.Quiet:
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.checks, name) // of an attempt that failed
		return
	case apierrors.IsForbidden(err):
		check.Message = "Copies from before may be left on the host."
		check.Details = []string{err.Error(), command}
		l.log.Info("Cannot delete copies of a kind that is switched off", "kind", name, "err", err.Error(), "command", command)
	case err != nil:
		check.Message = "Copies from before are not deleted yet."
		check.Details = []string{err.Error()}
	case len(kept) > 0:
		slices.Sort(kept)
		check.Message = fmt.Sprintf("%d copies from before stay on the host: they hold data.", len(kept))
		check.Details = append(shorten(slices.Clone(kept)), command)
		l.log.Info("Copies of a kind that is switched off stay on the host", "kind", name, "objects", strings.Join(kept, ","), "command", command)
	default:
		check.Message = "No copies are left on the host."
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.checks[name] = check
}

// list returns the results, in the order of the kinds.
func (l *leftovers) list() []syncz.Check {
	l.mu.Lock()
	defer l.mu.Unlock()
	var checks []syncz.Check
	for _, leftover := range l.kinds {
		if check, ok := l.checks[leftover.Kind.name]; ok {
			checks = append(checks, check)
		}
	}
	return checks
}
