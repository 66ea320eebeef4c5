package controlplane

import (
	"bytes"
	"context"
	"maps"
	"reflect"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	apistorage "k8s.io/apiserver/pkg/storage"
)

// sharingStore is the store below a watch cache. It lets successive versions of an object share the
// memory of equal parts, such as the spec of a pod.
//
// A watch cache has all versions of the last 75 seconds, each decoded separately. A pod has seven in
// its life, and most of them only differ in the status.
type sharingStore struct {
	apistorage.Interface
	versions *lastVersions
}

// Watch watches the inner store. The returned versions share memory, so nobody may change them, as with
// all objects of a watch cache.
func (s sharingStore) Watch(ctx context.Context, key string, options apistorage.ListOptions) (watch.Interface, error) {
	inner, err := s.Interface.Watch(ctx, key, options)
	if err != nil {
		return nil, err
	}
	s.versions.forget()
	return newSharingWatch(inner, s.versions), nil
}

// sharingWatch is a watch whose versions share memory. Unlike a watch.Filter, it ends when it is stopped
// with events that nobody has read. It would keep all last versions in memory otherwise.
type sharingWatch struct {
	watch.Interface
	versions *lastVersions
	result   chan watch.Event
	stopped  chan struct{}
	stop     func()
}

func newSharingWatch(inner watch.Interface, versions *lastVersions) *sharingWatch {
	w := &sharingWatch{Interface: inner, versions: versions, result: make(chan watch.Event), stopped: make(chan struct{})}
	w.stop = sync.OnceFunc(func() { close(w.stopped) })
	go w.run()
	return w
}

// ResultChan returns the events. It is closed when the inner watch ends, or after Stop.
func (w *sharingWatch) ResultChan() <-chan watch.Event { return w.result }

// Stop stops the inner watch, and then this one.
func (w *sharingWatch) Stop() {
	w.Interface.Stop()
	w.stop()
}

// run passes the events of the inner watch on until it ends, or nobody reads them any more.
func (w *sharingWatch) run() {
	defer close(w.result)
	for event := range w.Interface.ResultChan() {
		w.versions.share(event)
		select {
		case w.result <- event:
		case <-w.stopped:
			return
		}
	}
}

// lastVersions has the last version of each object of a watch cache.
type lastVersions struct {
	mu    sync.Mutex
	byUID map[types.UID]*lastVersion
}

// lastVersion is the last version of one object.
type lastVersion struct {
	object runtime.Object
	// fields are those that field selectors can name, nil until the cache has asked for them.
	fields fields.Set
	// deleted specifies that no version follows.
	deleted bool
}

func newLastVersions() *lastVersions { return &lastVersions{byUID: map[types.UID]*lastVersion{}} }

// forget removes all versions, as a watch begins that may show others.
func (v *lastVersions) forget() {
	v.mu.Lock()
	defer v.mu.Unlock()
	clear(v.byUID)
}

// share lets the object of an event share memory with its last version. It does not change custom
// resources, which are unstructured.
func (v *lastVersions) share(event watch.Event) {
	object := event.Object
	if timed, isTimed := object.(apistorage.WatchEventWithRecordTime); isTimed {
		object = timed.Unwrap()
	}
	accessor, err := meta.Accessor(object)
	_, isDynamic := object.(runtime.Unstructured)
	if err != nil || isDynamic || event.Type == watch.Bookmark || event.Type == watch.Error {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	last, found := v.byUID[accessor.GetUID()]
	if !found {
		last = &lastVersion{}
		v.byUID[accessor.GetUID()] = last
	} else if reflect.TypeOf(last.object) == reflect.TypeOf(object) {
		shareEqual(reflect.ValueOf(last.object), reflect.ValueOf(object))
	}
	last.object, last.deleted = object, event.Type == watch.Deleted
}

// attributes returns a function like get, for which the versions of an object share the fields if they are
// equal. The cache calls it for each event after share. Those of a pod are a tenth of its memory.
func (v *lastVersions) attributes(get apistorage.AttrFunc) apistorage.AttrFunc {
	return func(object runtime.Object) (labels.Set, fields.Set, error) {
		byLabel, byField, err := get(object)
		if accessor, _ := meta.Accessor(object); err == nil && accessor != nil {
			byField = v.shareSet(accessor.GetUID(), byField)
		}
		return byLabel, byField, err
	}
}

// shareSet returns the fields of the last version of an object if they equal set, else set.
func (v *lastVersions) shareSet(uid types.UID, set fields.Set) fields.Set {
	v.mu.Lock()
	defer v.mu.Unlock()
	last, found := v.byUID[uid]
	if !found {
		return set
	}
	if last.deleted {
		delete(v.byUID, uid)
	}
	if !maps.Equal(last.fields, set) {
		last.fields = set
	}
	return last.fields
}

// shareEqual replaces each part of after that equals that of before by the latter. It reports whether both
// are equal. They must have the same type. It may treat equal values as different, such as nil and
// empty lists.
func shareEqual(before, after reflect.Value) bool {
	switch after.Kind() {
	case reflect.Pointer:
		return sharePointers(before, after)
	case reflect.Struct:
		return shareFields(before, after)
	case reflect.Slice:
		return shareElements(before, after)
	case reflect.String:
		return before.String() == after.String() && replace(after, before)
	case reflect.Map, reflect.Interface:
		return reflect.DeepEqual(before.Interface(), after.Interface()) && replace(after, before)
	default:
		return before.Equal(after)
	}
}

// replace sets after to before if after is settable, and returns true. Values in interfaces and the object
// itself are not.
func replace(after, before reflect.Value) bool {
	if after.CanSet() {
		after.Set(before)
	}
	return true
}

func sharePointers(before, after reflect.Value) bool {
	if before.IsNil() || after.IsNil() {
		return before.IsNil() && after.IsNil()
	}
	return shareEqual(before.Elem(), after.Elem()) && replace(after, before)
}

func shareFields(before, after reflect.Value) bool {
	equal := true
	for i := range after.NumField() {
		if !after.Field(i).CanSet() { // A struct with private fields, such as a time, is one value.
			return reflect.DeepEqual(before.Interface(), after.Interface()) && replace(after, before)
		}
		equal = shareEqual(before.Field(i), after.Field(i)) && equal
	}
	return equal
}

func shareElements(before, after reflect.Value) bool {
	if before.IsNil() != after.IsNil() || before.Len() != after.Len() {
		return false
	}
	if after.Type().Elem().Kind() == reflect.Uint8 {
		return bytes.Equal(before.Bytes(), after.Bytes()) && replace(after, before)
	}
	equal := true
	for i := range after.Len() {
		equal = shareEqual(before.Index(i), after.Index(i)) && equal
	}
	return equal && replace(after, before)
}
