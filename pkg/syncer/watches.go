package syncer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/meta"
	apilabels "k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// VirtualInformers has shared informers of the virtual cluster that run already,
// so that the engine does not keep a second cache of the same objects.
type VirtualInformers interface {
	// InformerFor returns the shared informer of a built-in type, with all objects
	// of the virtual cluster. ok is false for a type that has none: the engine then
	// opens a watch of its own. The informer runs, or starts on its own.
	InformerFor(gvk schema.GroupVersionKind) (informer toolscache.SharedIndexInformer, ok bool)
}

// oursSelector selects the host objects of a virtual cluster.
func oursSelector(c translate.Cluster) apilabels.Selector {
	return apilabels.SelectorFromSet(apilabels.Set{labels.Cluster: c.UID})
}

// watchKey identifies a watch. Objects of one type may be watched twice: once ours
// and once all, or once whole and once as metadata.
type watchKey struct {
	gvk      schema.GroupVersionKind
	form     form
	selector string
	place    Place
}

// sharedWatch is one list and watch with its cache. All kinds that need the same
// one share it.
type sharedWatch struct {
	side       Side
	gvk        schema.GroupVersionKind
	selector   apilabels.Selector
	place      Place // the zero Place for all of the side
	namespaced bool
	label      string // "Pod", in metrics
	name       string // "host Pod"
	cache      cache.Cache
	informer   toolscache.SharedIndexInformer
	health     *watchHealth // nil if the informer is the control plane's
	cancel     context.CancelFunc
	users      int
	indexes    map[string]bool
}

// Get implements store.
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

// List implements store.
func (s *sharedWatch) List() []client.Object {
	items := s.informer.GetIndexer().List()
	objects := make([]client.Object, len(items))
	for i, item := range items {
		objects[i] = item.(client.Object)
	}
	return objects
}

// readStarted reads from a cache that may have been created a moment ago.
func (s *sharedWatch) readStarted(ctx context.Context, read func() error) error {
	err := read()
	if _, early := errors.AsType[*cache.ErrCacheNotStarted](err); !early {
		return err
	}
	if !s.cache.WaitForCacheSync(ctx) {
		return err
	}
	return read()
}

// notSyncedReason returns what the watch waits for, empty if it has synced.
func (s *sharedWatch) notSyncedReason() string {
	if s.informer.HasSynced() {
		return ""
	}
	if failure := s.failure(); failure != nil {
		return fmt.Sprintf("%s: %v", s.name, failure)
	}
	return s.name
}

// failure returns why the watch does not work, nil if it does.
func (s *sharedWatch) failure() error {
	if s.health == nil {
		return nil
	}
	return s.health.check()
}

// sharedWatches are the watches of one side.
type sharedWatches struct {
	side   Side
	config *rest.Config
	http   *http.Client
	scheme *runtime.Scheme
	mapper meta.RESTMapper
	clock  clock.PassiveClock
	log    logr.Logger
	// informers has shared informers to use instead of a watch, nil for none.
	informers VirtualInformers
	// namespace confines the watches of namespaced objects, empty for none.
	namespace string
	// ours is the selector of watches that name none; nil for everything.
	ours apilabels.Selector
	// away returns why the API server is known to be unreachable, nil if it is not.
	away func() error

	mu    sync.Mutex
	ctx   context.Context //nolint:containedctx // The life of the engine, set by Run.
	all   map[watchKey]*sharedWatch
	trims map[readKey]map[string]func(client.Object) // type -> kind -> what it drops
}

// addTrim lets every cache of a type drop what a kind's trim drops, whichever kind
// starts its watch. It does not change a cache that exists already.
func (w *sharedWatches) addTrim(kind string, like client.Object, trim func(client.Object)) error {
	gvk, form, err := typeOf(like, w.scheme)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	key := readKey{gvk, form}
	if w.trims[key] == nil {
		w.trims[key] = map[string]func(client.Object){}
	}
	w.trims[key][kind] = trim
	return nil
}

// removeTrim drops the trims of a kind.
func (w *sharedWatches) removeTrim(kind string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, trims := range w.trims {
		delete(trims, kind)
	}
}

// acquire returns the watch of objects like that at a place, which it starts if there is
// none. The zero Place is the whole side, which on the host is the host namespace. A nil
// selector is the default of the side. Each call needs a release.
func (w *sharedWatches) acquire(like client.Object, sel apilabels.Selector, place Place) (*sharedWatch, error) {
	gvk, form, err := typeOf(like, w.scheme)
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
		return nil, fmt.Errorf("the %s API server does not serve %s: %w", w.side, gvk, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ctx == nil {
		return nil, fmt.Errorf("cannot watch %s %s: the engine does not run", w.side, gvk.Kind)
	}
	key := watchKey{gvk, form, sel.String(), place}
	if found, ok := w.all[key]; ok {
		found.users++
		return found, nil
	}
	s := &sharedWatch{
		side: w.side, gvk: gvk, selector: sel, place: place, users: 1, indexes: map[string]bool{},
		namespaced: mapping.Scope.Name() == meta.RESTScopeNameNamespace,
		label:      w.labelOf(key), name: w.side.String() + " " + w.labelOf(key),
	}
	if err := w.startWatch(s, like, key); err != nil {
		return nil, fmt.Errorf("cannot watch %s %s: %w", w.side, gvk.Kind, err)
	}
	w.all[key] = s
	return s, nil
}

// labelOf returns the name of a watch in metrics and checks: its type, and what
// sets it apart from the usual watch of that type.
func (w *sharedWatches) labelOf(key watchKey) string {
	label := key.gvk.Kind
	switch key.form {
	case metadataForm:
		label += " metadata"
	case unstructuredForm:
		label += " unstructured"
	case typedForm:
	}
	if key.place != (Place{}) {
		return label + " (" + key.place.String() + ")"
	}
	usual := ""
	if w.ours != nil {
		usual = w.ours.String()
	}
	switch key.selector {
	case usual:
		return label
	case "":
		return label + " (all)"
	default:
		return label + " (" + key.selector + ")"
	}
}

// startWatch creates the cache of a watch and starts it.
func (w *sharedWatches) startWatch(s *sharedWatch, like client.Object, key watchKey) error {
	trims := slices.Collect(maps.Values(w.trims[readKey{key.gvk, key.form}]))
	if key.form == metadataForm {
		trims = append(trims, dropLastApplied)
	}
	never := time.Duration(0)
	options := cache.Options{
		HTTPClient: w.http, Scheme: w.scheme, Mapper: w.mapper,
		SyncPeriod:                  &never,
		ReaderFailOnMissingInformer: true,
		DefaultLabelSelector:        s.selector,
		DefaultTransform:            stripFields(trims),
		DefaultWatchErrorHandler:    func(context.Context, *toolscache.Reflector, error) {}, // The health records it.
	}
	if place := w.placeOf(s); place != (Place{}) {
		options.DefaultFieldSelector = place.fields()
	}
	options.NewInformer = w.informerOf(s, key)
	var err error
	if s.cache, err = cache.New(w.config, options); err != nil {
		return err
	}
	informer, err := s.cache.GetInformer(w.ctx, like, cache.BlockUntilSynced(false))
	if err != nil {
		return err
	}
	shared, ok := informer.(toolscache.SharedIndexInformer)
	if !ok {
		return fmt.Errorf("informer of type %T", informer)
	}
	s.informer = shared
	ctx, cancel := context.WithCancel(w.ctx)
	s.cancel = cancel
	go func() {
		if err := s.cache.Start(ctx); err != nil {
			w.log.Error(err, "Watch ended", "watch", s.name)
		}
	}()
	return nil
}

// placeOf returns the place of a watch, the zero Place for everything. Watches without one
// are confined to the namespace of the side.
func (w *sharedWatches) placeOf(s *sharedWatch) Place {
	if s.place == (Place{}) && s.namespaced {
		return Place{Namespace: w.namespace}
	}
	return s.place
}

// informerOf returns the function that creates the informer of a watch: one that
// the control plane shares, or one whose list and watch are observed.
func (w *sharedWatches) informerOf(s *sharedWatch, key watchKey) func(toolscache.ListerWatcher, runtime.Object, time.Duration, toolscache.Indexers) toolscache.SharedIndexInformer {
	if w.informers != nil && key.form == typedForm && key.selector == "" && len(w.trims[readKey{key.gvk, key.form}]) == 0 {
		if informer, ok := w.informers.InformerFor(s.gvk); ok {
			return func(toolscache.ListerWatcher, runtime.Object, time.Duration, toolscache.Indexers) toolscache.SharedIndexInformer {
				return borrowedInformer{informer}
			}
		}
	}
	s.health = newWatchHealth(s.name, w.clock, w.log, newWatchMeters(w.side.String(), s.label), w.away)
	return func(lw toolscache.ListerWatcher, like runtime.Object, resync time.Duration, indexers toolscache.Indexers) toolscache.SharedIndexInformer {
		return toolscache.NewSharedIndexInformer(s.health.observe(lw), like, resync, indexers)
	}
}

// addIndex adds an index to a watch, once.
func (w *sharedWatches) addIndex(s *sharedWatch, i Index) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s.indexes[i.Field] {
		return nil
	}
	if err := s.cache.IndexField(w.ctx, i.Object, i.Field, client.IndexerFunc(i.Values)); err != nil {
		return fmt.Errorf("cannot index %s by %s: %w", s.name, i.Field, err)
	}
	s.indexes[i.Field] = true
	return nil
}

// release ends a watch that nothing else needs.
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
	if s.health != nil {
		s.health.meters.failing.Set(0)
	}
	s.cancel()
}

// list returns all watches.
func (w *sharedWatches) list() []*sharedWatch {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := make([]*sharedWatch, 0, len(w.all))
	for _, s := range w.all {
		all = append(all, s)
	}
	return all
}

// stripFields returns the transform that drops what no kind reads.
func stripFields(trims []func(client.Object)) toolscache.TransformFunc {
	return func(item any) (any, error) {
		object, ok := item.(client.Object)
		if !ok {
			return item, nil
		}
		if object.GetManagedFields() != nil {
			object.SetManagedFields(nil)
		}
		for _, trim := range trims {
			trim(object)
		}
		return object, nil
	}
}
