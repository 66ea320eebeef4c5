package syncer

import (
	"context"
	"errors"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// errRolledBack is returned by [Engine.Run] if an API server is at an older version than a cache. Its
// store was restored from a backup. A watch from the later version shows nothing until the
// server reaches it again, and no error. What this process remembers of objects may be wrong, so it must start
// again.
var errRolledBack = errors.New("the API server was restored to an earlier state, so that all caches must be read again")

// suspectRollback makes the engine compare the version of the host with its caches.
func (e *Engine) suspectRollback() {
	select {
	case e.suspicions <- struct{}{}:
	default:
	}
}

// findRollbacks looks for a rollback of the host each time when the host was away. Nobody restores the
// store of an API server that runs.
func (e *Engine) findRollbacks(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.suspicions:
		}
		if err := e.checkRollback(ctx, e.host); err != nil {
			e.log.V(2).Info("Cannot read the version of the API server", "err", err.Error())
		}
	}
}

// checkRollback compares the version of an API server with that of the newest cache. One short list
// proves it for all types, because they share one counter.
func (e *Engine) checkRollback(ctx context.Context, side *connection) error {
	newest, seen := side.watches.findNewest()
	if newest == nil {
		return nil
	}
	page := &metav1.PartialObjectMetadataList{}
	page.SetGroupVersionKind(newest.gvk.GroupVersion().WithKind(newest.gvk.Kind + "List"))
	options := &client.ListOptions{LabelSelector: newest.selector, Limit: 1}
	if place := side.watches.placeOf(newest); place.isPart() {
		options.Namespace = place.Namespace
	}
	if err := side.client.List(ctx, page, options); err != nil {
		return fmt.Errorf("cannot list %s: %w", newest.name, err)
	}
	e.recordVersion(newest, seen, page.ResourceVersion)
	return nil
}

// recordVersion ends the engine if an API server lists a type at an older version than its cache had before.
func (e *Engine) recordVersion(w *sharedWatch, seen, listed string) {
	if w.isComparable() && isOlder(listed, seen) {
		e.fail(fmt.Errorf("%s is at version %s, and was at %s: %w", w.name, listed, seen, errRolledBack))
	}
}

// isComparable reports whether the versions of the type come from the counter of the API server. Aggregated API
// servers have others, and Events often have a store of their own.
func (w *sharedWatch) isComparable() bool {
	return w.form != unstructuredForm && w.gvk.Kind != "Event"
}

// findNewest returns the watch whose cache has the newest version, and that version. It is nil if none has synced.
func (s *sharedWatches) findNewest() (newest *sharedWatch, version string) {
	for _, w := range s.list() {
		if !w.isComparable() || !w.informer.HasSynced() {
			continue
		}
		if seen := w.informer.LastSyncResourceVersion(); newest == nil || isOlder(version, seen) {
			newest, version = w, seen
		}
	}
	return newest, version
}
