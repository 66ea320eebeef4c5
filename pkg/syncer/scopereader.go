package syncer

import (
	"context"
	"fmt"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// form is how the objects of a cache are represented.
type form int

const (
	typedForm form = iota
	unstructuredForm
	// metadataForm is metadata alone, without the body.
	metadataForm
)

// typeOf returns the type and the form of an object, or of the items of a list.
func typeOf(object runtime.Object, scheme *runtime.Scheme) (schema.GroupVersionKind, form, error) {
	gvk, err := apiutil.GVKForObject(object, scheme)
	if err != nil {
		return gvk, typedForm, err
	}
	if _, isList := object.(client.ObjectList); isList {
		gvk.Kind = strings.TrimSuffix(gvk.Kind, "List")
	}
	switch object.(type) {
	case runtime.Unstructured:
		return gvk, unstructuredForm, nil
	case *metav1.PartialObjectMetadata, *metav1.PartialObjectMetadataList:
		return gvk, metadataForm, nil
	default:
		return gvk, typedForm, nil
	}
}

// readKey identifies a type in the form in which a kind reads it.
type readKey struct {
	gvk  schema.GroupVersionKind
	form form
}

// scopeReader reads one side for one kind, from the caches of the watches that the kind has
// declared. On the virtual side, a type that is not declared gets a watch when it is first
// read. On the host that is an error, because each watch needs a permission.
type scopeReader struct {
	watches *sharedWatches

	mu       sync.Mutex
	declared map[readKey]*sharedWatch
	placed   map[readKey][]*sharedWatch // watches of single places
	opened   []*sharedWatch             // watches that a read has started
}

func newScopeReader(side *sharedWatches) *scopeReader {
	return &scopeReader{watches: side, declared: map[readKey]*sharedWatch{}, placed: map[readKey][]*sharedWatch{}}
}

// declare lets the kind read from a watch. Of two watches of one type, the kind reads the one
// that selects everything, else the one that was declared first.
func (r *scopeReader) declare(like client.Object, w *sharedWatch) error {
	gvk, form, err := typeOf(like, r.watches.scheme)
	if err != nil {
		return err
	}
	key := readKey{gvk, form}
	r.mu.Lock()
	defer r.mu.Unlock()
	if w.place.isPart() {
		r.placed[key] = append(r.placed[key], w)
		return nil
	}
	if _, ok := r.declared[key]; !ok || w.selector.Empty() {
		r.declared[key] = w
	}
	return nil
}

// releaseAll forgets all declarations and releases the watches that reads have started.
func (r *scopeReader) releaseAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.declared)
	clear(r.placed)
	for _, w := range r.opened {
		r.watches.release(w)
	}
	r.opened = nil
}

// watchFor returns the watch from which the kind reads objects of the type of object.
func (r *scopeReader) watchFor(object runtime.Object) (*sharedWatch, error) {
	gvk, form, err := typeOf(object, r.watches.scheme)
	if err != nil {
		return nil, err
	}
	key := readKey{gvk, form}
	r.mu.Lock()
	defer r.mu.Unlock()
	if w, ok := r.declared[key]; ok {
		return w, nil
	}
	if r.watches.side == Host {
		return nil, fmt.Errorf("a kind reads host %s without watching them", gvk.Kind)
	}
	like, err := newItem(r.watches.scheme, gvk, form)
	if err != nil {
		return nil, err
	}
	w, err := r.watches.acquire(like, nil, Place{})
	if err != nil {
		return nil, err
	}
	r.declared[key] = w
	r.opened = append(r.opened, w)
	return w, nil
}

// placedFor returns the watches of places from which the kind reads objects of the type of object.
func (r *scopeReader) placedFor(object runtime.Object) ([]*sharedWatch, error) {
	gvk, form, err := typeOf(object, r.watches.scheme)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.placed[readKey{gvk, form}], nil
}

// newItem returns an empty object of a type in a form.
func newItem(scheme *runtime.Scheme, gvk schema.GroupVersionKind, f form) (client.Object, error) {
	if f == metadataForm {
		like := &metav1.PartialObjectMetadata{}
		like.SetGroupVersionKind(gvk)
		return like, nil
	}
	if f == unstructuredForm {
		like := &unstructured.Unstructured{}
		like.SetGroupVersionKind(gvk)
		return like, nil
	}
	item, err := scheme.New(gvk)
	if err != nil {
		return nil, err
	}
	item.GetObjectKind().SetGroupVersionKind(gvk)
	return item.(client.Object), nil
}

// Get implements client.Reader.
func (r *scopeReader) Get(ctx context.Context, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
	placed, err := r.placedFor(object)
	if err != nil {
		return err
	}
	if len(placed) > 0 {
		return r.getPlaced(ctx, placed, key, object, options...)
	}
	w, err := r.watchFor(object)
	if err != nil {
		return err
	}
	return w.readStarted(ctx, func() error { return w.cache.Get(ctx, key, object, options...) })
}

// List implements client.Reader.
func (r *scopeReader) List(ctx context.Context, list client.ObjectList, options ...client.ListOption) error {
	w, err := r.watchFor(list)
	if err != nil {
		return err
	}
	return w.readStarted(ctx, func() error { return w.cache.List(ctx, list, options...) })
}

// borrowedInformer is an informer that its owner configures, runs and stops.
type borrowedInformer struct {
	toolscache.SharedIndexInformer
}

// SetTransform implements cache.SharedInformer. The owner has set one.
func (borrowedInformer) SetTransform(toolscache.TransformFunc) error { return nil }

// SetWatchErrorHandlerWithContext implements cache.SharedInformer. The [InformerMonitor] sees
// the errors.
func (borrowedInformer) SetWatchErrorHandlerWithContext(toolscache.WatchErrorHandlerWithContext) error {
	return nil
}

// RunWithContext implements cache.SharedInformer. The owner runs it.
func (borrowedInformer) RunWithContext(ctx context.Context) { <-ctx.Done() }

// AddIndexers implements cache.SharedIndexInformer. An engine of an earlier leader
// term may have added the same ones.
func (b borrowedInformer) AddIndexers(indexers toolscache.Indexers) error {
	missing := toolscache.Indexers{}
	present := b.GetIndexer().GetIndexers()
	for name, index := range indexers {
		if _, ok := present[name]; !ok {
			missing[name] = index
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return b.SharedIndexInformer.AddIndexers(missing)
}

// getPlaced gets an object from the watches of places. It returns NotFound for an object that
// none of them covers.
func (r *scopeReader) getPlaced(ctx context.Context, watches []*sharedWatch, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
	for _, w := range watches {
		if !w.place.covers(key) {
			continue
		}
		err := w.readStarted(ctx, func() error { return w.cache.Get(ctx, key, object, options...) })
		if !apierrors.IsNotFound(err) {
			return err
		}
	}
	return apierrors.NewNotFound(schema.GroupResource{Resource: fmt.Sprintf("%T", object)}, key.String())
}
