package syncer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// firstVersionRetry and lastVersionRetry bound the pause between two tries to read the version of an API server.
// After the last one, only comparisons with live lists find a rollback.
const (
	firstVersionRetry = time.Second
	lastVersionRetry  = time.Minute
	// versionInterval is the time between two comparisons of which nothing is suspected.
	versionInterval = 2 * time.Minute
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

// seenVersion is the version that the cache of a watch had.
type seenVersion struct {
	watch   *sharedWatch
	version string
}

// findRollbacks looks for a rollback of the host each time when the host was away, or when something ended a
// watch early. An API server may restart so fast that only its watches show it. In between it looks at an interval, in
// case that a restart was not seen at all.
func (e *Engine) findRollbacks(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.suspicions:
		case <-e.options.Clock.After(versionInterval):
		}
		e.checkRollback(ctx, e.host)
	}
}

// checkRollback compares the version of an API server with those that the caches have now. One short list
// proves it for all types, because they share one counter. An API server that has just started may deny the
// first lists, and may lack a type since the rollback.
func (e *Engine) checkRollback(ctx context.Context, side *connection) {
	seen := side.watches.listVersions()
	if len(seen) == 0 {
		return
	}
	next := 0
	for pause := firstVersionRetry; pause <= lastVersionRetry; pause *= 2 {
		err := e.compareVersion(ctx, side, seen[next%len(seen)])
		if err == nil || errors.Is(err, errUnreachable) { // The next outage has a check of its own.
			return
		}
		e.log.V(2).Info("Cannot read the version of the API server, retrying", "err", err.Error())
		next++
		select {
		case <-ctx.Done():
			return
		case <-e.options.Clock.After(pause):
		}
	}
}

// compareVersion compares the version of an API server with that of a cache.
func (e *Engine) compareVersion(ctx context.Context, side *connection, seen seenVersion) error {
	w := seen.watch
	page := &metav1.PartialObjectMetadataList{}
	page.SetGroupVersionKind(w.gvk.GroupVersion().WithKind(w.gvk.Kind + "List"))
	if err := listPage(ctx, side.client, page, w.listOptions(side.watches.placeOf(w), 1)); err != nil {
		return fmt.Errorf("cannot list %s: %w", w.name, err)
	}
	e.recordVersion(w, seen.version, page.ResourceVersion)
	return nil
}

// recordVersion ends the engine if an API server lists a type at an older version than its cache had before.
func (e *Engine) recordVersion(w *sharedWatch, seen, listed string) {
	if w.isComparable() && isOlder(listed, seen) {
		e.fail(fmt.Errorf("%s is at version %s, and was at %s: %w", w.name, listed, seen, errRolledBack))
	}
}

// objectVersions returns the versions of the objects in the cache of a watch, nil if they cannot be compared.
func (w *sharedWatch) objectVersions() map[types.NamespacedName]string {
	if !w.isComparable() {
		return nil
	}
	versions := map[types.NamespacedName]string{}
	for _, object := range w.List() {
		versions[client.ObjectKeyFromObject(object)] = object.GetResourceVersion()
	}
	return versions
}

// recordObjectVersions ends the engine if an API server lists an object at an older version than its cache had before
// the list. An API server that was restored may have written more since than was lost. Its own version shows nothing then.
func (e *Engine) recordObjectVersions(w *sharedWatch, before map[types.NamespacedName]string, live liveList) {
	for key, version := range live.objects {
		if seen, isCached := before[key]; isCached {
			e.recordVersion(w, seen, version)
		}
	}
}

// isComparable reports whether the versions of the type come from the counter of the API server. Aggregated API
// servers have others, and Events often have a store of their own.
func (w *sharedWatch) isComparable() bool {
	return w.form != unstructuredForm && w.gvk.Kind != "Event"
}

// listVersions returns the versions of all caches that have synced, the newest first.
func (s *sharedWatches) listVersions() []seenVersion {
	var seen []seenVersion
	for _, w := range s.list() {
		if w.isComparable() && w.informer.HasSynced() {
			seen = append(seen, seenVersion{w, w.informer.LastSyncResourceVersion()})
		}
	}
	slices.SortStableFunc(seen, func(a, b seenVersion) int {
		switch {
		case isOlder(b.version, a.version):
			return -1
		case isOlder(a.version, b.version):
			return 1
		default:
			return 0
		}
	})
	return seen
}
