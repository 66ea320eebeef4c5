package syncer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/fields"
	apilabels "k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// oursSelector selects the host objects of a virtual cluster.
func oursSelector(c translate.Cluster) apilabels.Selector {
	return apilabels.SelectorFromSet(apilabels.Set{labels.Cluster: c.UID})
}

// watchKey tells watches apart: objects of one type may be watched twice on the
// host, once ours and once all.
type watchKey struct {
	gvk      schema.GroupVersionKind
	selector string
}

// sharedWatch is one watch and what it has seen: all kinds that need the same one
// share it.
type sharedWatch struct {
	side      Side
	gvk       schema.GroupVersionKind
	cache     cache.Cache
	informer  toolscache.SharedIndexInformer
	cancel    context.CancelFunc
	users     int
	indexes   map[string]bool
	lastError atomic.Pointer[string] // why the last list or watch failed
}

// Get is part of store.
func (s *sharedWatch) Get(key types.NamespacedName) client.Object {
	name := key.Name
	if key.Namespace != "" {
		name = key.Namespace + "/" + key.Name
	}
	item, exists, err := s.informer.GetIndexer().GetByKey(name)
	if err != nil || !exists {
		return nil
	}
	return item.(client.Object)
}

// List is part of store.
func (s *sharedWatch) List() []client.Object {
	items := s.informer.GetIndexer().List()
	objects := make([]client.Object, len(items))
	for i, item := range items {
		objects[i] = item.(client.Object)
	}
	return objects
}

// readStarted reads from a cache that may have been made a moment ago.
func (s *sharedWatch) readStarted(ctx context.Context, read func() error) error {
	err := read()
	var early *cache.ErrCacheNotStarted
	if !errors.As(err, &early) {
		return err
	}
	if !s.cache.WaitForCacheSync(ctx) {
		return err
	}
	return read()
}

// notSyncedReason says what the source waits for, empty if it has seen everything once.
func (s *sharedWatch) notSyncedReason() string {
	if s.informer.HasSynced() {
		return ""
	}
	text := fmt.Sprintf("%s %s", s.side, s.gvk.Kind)
	if trouble := s.lastError.Load(); trouble != nil {
		text += ": " + *trouble
	}
	return text
}

// lateStore is a store that is empty until the watch behind it exists. Admission
// may ask for an object before the kind runs.
type lateStore struct{ watch atomic.Pointer[sharedWatch] }

// Get is part of store.
func (l *lateStore) Get(key types.NamespacedName) client.Object {
	if s := l.watch.Load(); s != nil {
		return s.Get(key)
	}
	return nil
}

// List is part of store.
func (l *lateStore) List() []client.Object {
	if s := l.watch.Load(); s != nil {
		return s.List()
	}
	return nil
}

// sharedWatches are the watches of one side.
type sharedWatches struct {
	side   Side
	config *rest.Config
	http   *http.Client
	scheme *runtime.Scheme
	mapper meta.RESTMapper
	log    logr.Logger
	// namespace confines the watches of namespaced objects, empty for none.
	namespace string
	// ours is the selector of watches that name none; nil for everything.
	ours apilabels.Selector

	mu  sync.Mutex
	ctx context.Context
	all map[watchKey]*sharedWatch
}

// acquire is the watch of objects like that, made if there is none yet. Each call
// wants a release.
func (w *sharedWatches) acquire(like client.Object, sel apilabels.Selector, trim func(client.Object)) (*sharedWatch, error) {
	gvk, err := apiutil.GVKForObject(like, w.scheme)
	if err != nil {
		return nil, err
	}
	if sel == nil {
		sel = w.ours
	}
	if sel == nil {
		sel = apilabels.Everything()
	}
	mapping, err := w.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		return nil, fmt.Errorf("the %s does not know %s: %w", w.side, gvk, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ctx == nil {
		return nil, fmt.Errorf("cannot watch %s %s: the engine does not run", w.side, gvk.Kind)
	}
	key := watchKey{gvk, sel.String()}
	if found, ok := w.all[key]; ok {
		found.users++
		return found, nil
	}
	made, err := w.startWatch(like, gvk, sel, mapping.Scope.Name() == meta.RESTScopeNameNamespace, trim)
	if err != nil {
		return nil, err
	}
	w.all[key] = made
	return made, nil
}

// startWatch starts a watch.
func (w *sharedWatches) startWatch(like client.Object, gvk schema.GroupVersionKind, sel apilabels.Selector, namespaced bool, trim func(client.Object)) (*sharedWatch, error) {
	made := &sharedWatch{side: w.side, gvk: gvk, users: 1, indexes: map[string]bool{}}
	never := time.Duration(0)
	options := cache.Options{
		HTTPClient: w.http, Scheme: w.scheme, Mapper: w.mapper,
		SyncPeriod:                  &never,
		ReaderFailOnMissingInformer: true,
		DefaultLabelSelector:        sel,
		DefaultTransform:            stripFields(trim),
		DefaultWatchErrorHandler:    w.onWatchError(made),
	}
	if namespaced && w.namespace != "" {
		options.DefaultFieldSelector = fields.OneTermEqualSelector("metadata.namespace", w.namespace)
	}
	var err error
	if made.cache, err = cache.New(w.config, options); err != nil {
		return nil, fmt.Errorf("cannot watch %s %s: %w", w.side, gvk.Kind, err)
	}
	informer, err := made.cache.GetInformer(w.ctx, like, cache.BlockUntilSynced(false))
	if err != nil {
		return nil, fmt.Errorf("cannot watch %s %s: %w", w.side, gvk.Kind, err)
	}
	shared, ok := informer.(toolscache.SharedIndexInformer)
	if !ok {
		return nil, fmt.Errorf("cannot watch %s %s: informer of type %T", w.side, gvk.Kind, informer)
	}
	made.informer = shared
	ctx, cancel := context.WithCancel(w.ctx)
	made.cancel = cancel
	go func() {
		if err := made.cache.Start(ctx); err != nil {
			w.log.Error(err, "A watch ended", "side", w.side.String(), "object", gvk.Kind)
		}
	}()
	return made, nil
}

// addIndex adds an index to a source, once.
func (w *sharedWatches) addIndex(s *sharedWatch, i Index) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s.indexes[i.Field] {
		return nil
	}
	if err := s.cache.IndexField(w.ctx, i.Object, i.Field, client.IndexerFunc(i.Values)); err != nil {
		return fmt.Errorf("cannot index %s %s by %s: %w", w.side, s.gvk.Kind, i.Field, err)
	}
	s.indexes[i.Field] = true
	return nil
}

// release ends a watch that nobody else needs.
func (w *sharedWatches) release(s *sharedWatch) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s.users--; s.users > 0 {
		return
	}
	for key, found := range w.all {
		if found == s {
			delete(w.all, key)
		}
	}
	s.cancel()
}

// onWatchError keeps the reason why a watch fails and logs it once, not at each of
// its retries.
func (w *sharedWatches) onWatchError(s *sharedWatch) toolscache.WatchErrorHandlerWithContext {
	return func(ctx context.Context, _ *toolscache.Reflector, err error) {
		text := err.Error()
		last := s.lastError.Swap(&text)
		if ctx.Err() != nil || errors.Is(err, context.Canceled) || s.informer.HasSynced() || last != nil && *last == text {
			return
		}
		w.log.Info("A watch does not start; it is tried again until it does", "side", w.side.String(), "object", s.gvk.Kind, "reason", text)
	}
}

// stripFields is the transform that drops what nobody reads.
func stripFields(trim func(client.Object)) toolscache.TransformFunc {
	return func(item any) (any, error) {
		object, ok := item.(client.Object)
		if !ok {
			return item, nil
		}
		if object.GetManagedFields() != nil {
			object.SetManagedFields(nil)
		}
		if trim != nil {
			trim(object)
		}
		return object, nil
	}
}

// findWatch is the source that shows most objects of a kind, nil if there is none.
func (w *sharedWatches) findWatch(gvk schema.GroupVersionKind) *sharedWatch {
	w.mu.Lock()
	defer w.mu.Unlock()
	var best *sharedWatch
	for key, s := range w.all {
		if key.gvk != gvk {
			continue
		}
		if key.selector == "" {
			return s
		}
		best = s
	}
	return best
}

// Get is part of client.Reader.
func (w *sharedWatches) Get(ctx context.Context, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
	s, err := w.watchFor(object)
	if err != nil {
		return err
	}
	return s.readStarted(ctx, func() error { return s.cache.Get(ctx, key, object, options...) })
}

// List is part of client.Reader.
func (w *sharedWatches) List(ctx context.Context, list client.ObjectList, options ...client.ListOption) error {
	s, err := w.watchFor(list)
	if err != nil {
		return err
	}
	return s.readStarted(ctx, func() error { return s.cache.List(ctx, list, options...) })
}

// watchFor is the source of what a kind reads. The virtual side opens one where
// there is none, the host side never: each of its watches needs a right.
func (w *sharedWatches) watchFor(object runtime.Object) (*sharedWatch, error) {
	gvk, err := apiutil.GVKForObject(object, w.scheme)
	if err != nil {
		return nil, err
	}
	if _, isList := object.(client.ObjectList); isList && len(gvk.Kind) > 4 && gvk.Kind[len(gvk.Kind)-4:] == "List" {
		gvk.Kind = gvk.Kind[:len(gvk.Kind)-4]
	}
	if s := w.findWatch(gvk); s != nil {
		return s, nil
	}
	if w.side == Host {
		return nil, fmt.Errorf("a kind reads the host's %s without watching them", gvk.Kind)
	}
	item, err := w.scheme.New(gvk)
	if err != nil {
		return nil, err
	}
	return w.acquire(item.(client.Object), nil, nil)
}
