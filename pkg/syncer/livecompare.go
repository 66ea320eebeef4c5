package syncer

import (
	"context"
	"fmt"
	"maps"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// livePageSize is how many objects one request of a live list returns.
	livePageSize = 500
	// cacheLag is how much time a cache gets to catch up with a live list.
	cacheLag = 10 * time.Second
)

// liveList has the versions of the objects of a watch, as the API server lists them.
type liveList struct {
	revision string                          // of the list
	objects  map[types.NamespacedName]string // name -> version
}

// suspectCache is a cache that seems to have missed changes.
type suspectCache struct {
	connection *connection
	watch      *sharedWatch
	live       liveList
	missed     map[types.NamespacedName]bool
}

// compareLive compares the caches of all watches with live lists of metadata, to find changes
// that a watch never delivered. It counts them, makes the watch list again, and enqueues the
// objects.
func (e *Engine) compareLive(ctx context.Context) {
	var suspects []suspectCache
	for _, side := range []*connection{e.virtual, e.host} {
		for _, w := range side.watches.list() {
			if !w.informer.HasSynced() || side.watches.away() != nil {
				continue
			}
			seen, objects := w.informer.LastSyncResourceVersion(), w.objectVersions()
			live, err := listLive(ctx, side.client, w, side.watches.placeOf(w))
			if err != nil {
				e.log.V(2).Info("Cannot compare a cache with the API server", "watch", w.name, "err", err.Error())
				continue
			}
			e.recordVersion(w, seen, live.revision)
			e.recordObjectVersions(w, objects, live)
			if missed := findMissed(w, live); len(missed) > 0 {
				suspects = append(suspects, suspectCache{side, w, live, missed})
			}
		}
	}
	if len(suspects) == 0 {
		return
	}
	select {
	case <-ctx.Done():
		return
	case <-e.options.Clock.After(cacheLag):
	}
	for _, suspect := range suspects {
		if err := e.confirmMissed(ctx, suspect); err != nil {
			e.log.V(2).Info("Cannot compare a cache with the API server", "watch", suspect.watch.name, "err", err.Error())
		}
	}
}

// confirmMissed repairs a cache that still misses changes of the first live list. It lists
// again to ignore objects that were deleted since.
func (e *Engine) confirmMissed(ctx context.Context, d suspectCache) error {
	now, err := listLive(ctx, d.connection.client, d.watch, d.connection.watches.placeOf(d.watch))
	if err != nil {
		return err
	}
	maps.DeleteFunc(d.missed, func(key types.NamespacedName, _ bool) bool {
		_, exists := now.objects[key]
		return !isMissed(d.watch, key, d.live) || !exists && d.watch.Get(key) == nil
	})
	if len(d.missed) > 0 {
		e.repairCache(ctx, d.watch, d.missed)
	}
	return nil
}

// repairCache counts and logs the missed changes, makes the watch list again and enqueues the
// objects.
func (e *Engine) repairCache(ctx context.Context, w *sharedWatch, missed map[types.NamespacedName]bool) {
	processMetrics().cacheMissed.WithLabelValues(w.side.String(), w.label).Add(float64(len(missed)))
	var example types.NamespacedName
	for key := range missed {
		example = key
		break
	}
	e.log.Info("Cache has missed changes, listing again", "watch", w.name, "objects", len(missed), "example", example.String())
	if w.health != nil {
		w.health.relist()
	}
	for _, r := range e.listRunners() {
		r.enqueueMissed(ctx, w, missed)
	}
}

// enqueueMissed queues the keys of objects of a kind that its cache has missed.
func (r *runner) enqueueMissed(ctx context.Context, w *sharedWatch, missed map[types.NamespacedName]bool) {
	if r.virtualStore.has(w) {
		for key := range missed {
			r.enqueue(key)
		}
	}
	if !r.hostStore.has(w) {
		return
	}
	s := r.reconciler.scope(ctx)
	for key := range missed {
		if host := w.Get(key); host != nil {
			if origin, ours, err := r.originOf(s, host); err == nil && ours {
				r.enqueue(origin)
			}
		}
	}
}

// listLive returns the names and versions that the API server has of the objects
// of a watch.
func listLive(ctx context.Context, c client.Client, w *sharedWatch, place Place) (liveList, error) {
	options := w.listOptions(place, livePageSize)
	live := liveList{objects: map[types.NamespacedName]string{}}
	for {
		page := &metav1.PartialObjectMetadataList{}
		page.SetGroupVersionKind(w.gvk.GroupVersion().WithKind(w.gvk.Kind + "List"))
		if err := listPage(ctx, c, page, options); err != nil {
			return live, fmt.Errorf("cannot list %s: %w", w.name, err)
		}
		if live.revision == "" {
			live.revision = page.ResourceVersion
		}
		for i := range page.Items {
			item := &page.Items[i]
			live.objects[client.ObjectKeyFromObject(item)] = item.ResourceVersion
		}
		if options.Continue = page.Continue; options.Continue == "" {
			return live, nil
		}
	}
}

// listPage lists one page. A list without an answer must not end all later ones.
func listPage(ctx context.Context, c client.Client, page *metav1.PartialObjectMetadataList, options *client.ListOptions) error {
	ctx, cancel := context.WithTimeout(ctx, reconcileTimeout)
	defer cancel()
	return c.List(ctx, page, options)
}

// listOptions returns the options of a list of what is watched at a place. The host's RBAC may allow no other list.
func (w *sharedWatch) listOptions(place Place, limit int64) *client.ListOptions {
	options := &client.ListOptions{LabelSelector: w.selector, Limit: limit}
	if place.isPart() {
		options.Namespace = place.Namespace
	}
	if place.Name != "" {
		options.FieldSelector = place.fields()
	}
	return options
}

// findMissed returns the objects whose state in the cache is older than in the
// live list.
func findMissed(w *sharedWatch, live liveList) map[types.NamespacedName]bool {
	missed := map[types.NamespacedName]bool{}
	for key := range live.objects {
		if isMissed(w, key, live) {
			missed[key] = true
		}
	}
	for _, object := range w.List() {
		if key := client.ObjectKeyFromObject(object); isMissed(w, key, live) {
			missed[key] = true
		}
	}
	return missed
}

// isMissed reports whether the cache has an older state of an object than a live
// list. An object that was deleted since may look missed.
func isMissed(w *sharedWatch, key types.NamespacedName, live liveList) bool {
	cached := w.Get(key)
	version, exists := live.objects[key]
	switch {
	case exists && cached == nil:
		return true
	case exists:
		return isOlder(cached.GetResourceVersion(), version)
	case cached == nil:
		return false
	default:
		// The API server does not have it, unless it was created after the list.
		return isOlder(cached.GetResourceVersion(), live.revision)
	}
}

// isOlder reports whether version a is older than b. It is false for versions that
// cannot be compared.
func isOlder(a, b string) bool {
	order, err := resourceversion.CompareResourceVersion(a, b)
	return err == nil && order < 0
}

// relistEvent returns the event that lets a reflector list again.
func relistEvent() watch.Event {
	status := apierrors.NewResourceExpired("the cache has missed changes").ErrStatus
	return watch.Event{Type: watch.Error, Object: &status}
}
