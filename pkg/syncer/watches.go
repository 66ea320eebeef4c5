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
	form       form
	selector   apilabels.Selector
	place      Place // the zero Place for all of the side
	namespaced bool
	label      string // "Pod", in metrics
	name       string // "host Pod"
	cache      cache.Cache
	informer   toolscache.SharedIndexInformer
	health     *watchHealth // nil if the informer is the control plane's, and nobody monitors it
	cancel     context.CancelFunc
	users      int
	indexes    map[string]bool
}

// Get implements store.
func (w *sharedWatch) Get(key types.NamespacedName) client.Object {
	name := key.Name
	if key.Namespace != "" {
		name = key.Namespace + "/" + key.Name
	}
	item, exists, err := w.informer.GetIndexer().GetByKey(name)
	if err != nil || !exists {
		return nil
	}
	return item.(client.Object)
}

// List implements store.
func (w *sharedWatch) List() []client.Object {
	items := w.informer.GetIndexer().List()
	objects := make([]client.Object, len(items))
	for i, item := range items {
		objects[i] = item.(client.Object)
	}
	return objects
}

// readStarted reads from a cache. If that has not started yet, it waits for its first list.
func (w *sharedWatch) readStarted(ctx context.Context, read func() error) error {
	err := read()
	if _, early := errors.AsType[*cache.ErrCacheNotStarted](err); !early {
		return err
	}
	if !w.cache.WaitForCacheSync(ctx) {
		return err
	}
	return read()
}

// notSyncedReason returns what the watch waits for, empty if it has synced.
func (w *sharedWatch) notSyncedReason() string {
	if w.informer.HasSynced() {
		return ""
	}
	if failure := w.check(); failure != nil {
		return fmt.Sprintf("%s: %v", w.name, failure)
	}
	return w.name
}

// check returns why the watch does not work, nil if it does. It reopens a watch that has been
// silent for too long.
func (w *sharedWatch) check() error {
	if w.health == nil {
		return nil
	}
	return w.health.check()
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
	// monitor observes the shared informers, nil if nobody does.
	monitor *InformerMonitor
	// namespace is the only namespace to watch namespaced objects in, empty for all.
	namespace string
	// defaultSelector is for watches that specify none. nil selects everything.
	defaultSelector apilabels.Selector
	// away returns why the API server is known to be unreachable, nil if it is not.
	away func() error
	// onReopen is called when a watch is open again after something ended it early.
	onReopen func()
	// onList is called with the version of each list of a watch and the version of its cache. The
	// cache takes over the list after that.
	onList func(w *sharedWatch, cached, listed string)

	mu    sync.Mutex
	ctx   context.Context //nolint:containedctx // The life of the engine, set by Run.
	all   map[watchKey]*sharedWatch
	trims map[readKey]map[string]func(client.Object) // type -> kind -> its trim function
}

// addTrim makes every later cache of a type drop what the trim of a kind drops, whichever kind
// starts the watch.
func (s *sharedWatches) addTrim(kind string, like client.Object, trim func(client.Object)) error {
	gvk, form, err := typeOf(like, s.scheme)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := readKey{gvk, form}
	if s.trims[key] == nil {
		s.trims[key] = map[string]func(client.Object){}
	}
	s.trims[key][kind] = trim
	return nil
}

// removeTrim drops the trims of a kind.
func (s *sharedWatches) removeTrim(kind string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, trims := range s.trims {
		delete(trims, kind)
	}
}

// acquire returns the watch of the type of like at a place, and starts it if nobody has yet.
// The zero Place is the whole virtual cluster, or the host namespace. A nil selector means the
// default of the side. Each call needs a release.
func (s *sharedWatches) acquire(like client.Object, sel apilabels.Selector, place Place) (*sharedWatch, error) {
	gvk, form, err := typeOf(like, s.scheme)
	if err != nil {
		return nil, err
	}
	if sel == nil {
		sel = s.defaultSelector
	}
	if sel == nil {
		sel = apilabels.Everything()
	}
	mapping, err := s.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		return nil, fmt.Errorf("the %s API server does not serve %s: %w", s.side, gvk, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx == nil {
		return nil, fmt.Errorf("cannot watch %s %s: the engine does not run", s.side, gvk.Kind)
	}
	key := watchKey{gvk, form, sel.String(), place}
	if found, ok := s.all[key]; ok {
		found.users++
		return found, nil
	}
	w := &sharedWatch{
		side: s.side, gvk: gvk, form: form, selector: sel, place: place, users: 1, indexes: map[string]bool{},
		namespaced: mapping.Scope.Name() == meta.RESTScopeNameNamespace,
		label:      s.labelOf(key), name: s.side.String() + " " + s.labelOf(key),
	}
	if err := s.startWatch(w, like, key, mapping.Resource); err != nil {
		return nil, fmt.Errorf("cannot watch %s %s: %w", s.side, gvk.Kind, err)
	}
	s.all[key] = w
	return w, nil
}

// labelOf returns the name of a watch in metrics and checks. It is the type, with what
// distinguishes the watch from the default watch of that type.
func (s *sharedWatches) labelOf(key watchKey) string {
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
	if s.defaultSelector != nil {
		usual = s.defaultSelector.String()
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
func (s *sharedWatches) startWatch(w *sharedWatch, like client.Object, key watchKey, resource schema.GroupVersionResource) error {
	trims := slices.Collect(maps.Values(s.trims[readKey{key.gvk, key.form}]))
	if key.form == metadataForm {
		trims = append(trims, dropKubectlLastApplied)
	}
	never := time.Duration(0)
	options := cache.Options{
		HTTPClient: s.http, Scheme: s.scheme, Mapper: s.mapper,
		SyncPeriod:                  &never,
		ReaderFailOnMissingInformer: true,
		DefaultLabelSelector:        w.selector,
		DefaultTransform:            stripFields(trims),
		DefaultWatchErrorHandler:    func(context.Context, *toolscache.Reflector, error) {}, // The health records it.
	}
	if place := s.placeOf(w); place != (Place{}) {
		options.DefaultFieldSelector = place.fields()
	}
	options.NewInformer = s.informerOf(w, key, resource)
	var err error
	if w.cache, err = cache.New(s.config, options); err != nil {
		return err
	}
	informer, err := w.cache.GetInformer(s.ctx, like, cache.BlockUntilSynced(false))
	if err != nil {
		return err
	}
	shared, ok := informer.(toolscache.SharedIndexInformer)
	if !ok {
		return fmt.Errorf("informer of type %T", informer)
	}
	w.informer = shared
	ctx, cancel := context.WithCancel(s.ctx)
	w.cancel = cancel
	go func() {
		if err := w.cache.Start(ctx); err != nil {
			s.log.Error(err, "Watch ended", "watch", w.name)
		}
	}()
	return nil
}

// placeOf returns the place of a watch, the zero Place for everything. Watches without one
// are confined to the namespace of the side.
func (s *sharedWatches) placeOf(w *sharedWatch) Place {
	if w.place == (Place{}) && w.namespaced {
		return Place{Namespace: s.namespace}
	}
	return w.place
}

// informerOf returns the function that creates the informer of a watch: one that
// the control plane shares, or one whose list and watch are observed.
func (s *sharedWatches) informerOf(w *sharedWatch, key watchKey, resource schema.GroupVersionResource) func(toolscache.ListerWatcher, runtime.Object, time.Duration, toolscache.Indexers) toolscache.SharedIndexInformer {
	if s.informers != nil && key.form == typedForm && key.selector == "" && len(s.trims[readKey{key.gvk, key.form}]) == 0 {
		if informer, ok := s.informers.InformerFor(w.gvk); ok {
			w.health = s.monitor.healthOf(resource)
			return func(toolscache.ListerWatcher, runtime.Object, time.Duration, toolscache.Indexers) toolscache.SharedIndexInformer {
				return borrowedInformer{informer}
			}
		}
	}
	w.health = newWatchHealth(w.name, s.clock, s.log, newWatchMeters(s.side.String(), w.label), s.away)
	w.health.onReopen = s.onReopen
	return func(lw toolscache.ListerWatcher, like runtime.Object, resync time.Duration, indexers toolscache.Indexers) toolscache.SharedIndexInformer {
		informer := toolscache.NewSharedIndexInformer(w.health.observe(lw), like, resync, indexers)
		w.health.onList = func(version string) { s.onList(w, informer.LastSyncResourceVersion(), version) }
		return informer
	}
}

// addIndex adds an index to a watch, once.
func (s *sharedWatches) addIndex(w *sharedWatch, i Index) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.indexes[i.Field] {
		return nil
	}
	if err := w.cache.IndexField(s.ctx, i.Object, i.Field, client.IndexerFunc(i.Values)); err != nil {
		return fmt.Errorf("cannot index %s by %s: %w", w.name, i.Field, err)
	}
	w.indexes[i.Field] = true
	return nil
}

// release gives up one use of a watch and stops it after the last.
func (s *sharedWatches) release(w *sharedWatch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.users--; w.users > 0 {
		return
	}
	for key, found := range s.all {
		if found == w {
			delete(s.all, key)
		}
	}
	if w.health != nil {
		w.health.meters.failing.Set(0)
	}
	w.cancel()
}

// list returns all watches.
func (s *sharedWatches) list() []*sharedWatch {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*sharedWatch, 0, len(s.all))
	for _, w := range s.all {
		all = append(all, w)
	}
	return all
}

// stripFields returns the transform that drops managedFields and what the trims drop.
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
