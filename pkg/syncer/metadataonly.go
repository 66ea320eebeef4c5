package syncer

import (
	"fmt"
	"reflect"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// metadataStore is the store of a kind whose virtual objects are cached as metadata
// alone, without the body that "kubectl apply" repeats in an annotation. It returns objects
// of the kind's type that have no body.
type metadataStore struct {
	store
	newObject func() client.Object
}

// Get implements store.
func (m *metadataStore) Get(key types.NamespacedName) client.Object {
	object := m.store.Get(key)
	if object == nil {
		return nil
	}
	return m.toObject(object)
}

// List implements store.
func (m *metadataStore) List() []client.Object {
	objects := m.store.List()
	for i, object := range objects {
		objects[i] = m.toObject(object)
	}
	return objects
}

// toObject returns an object of the kind's type with the metadata of object.
func (m *metadataStore) toObject(object client.Object) client.Object {
	partial, ok := object.(*metav1.PartialObjectMetadata)
	if !ok {
		return object
	}
	full := m.newObject()
	if u, ok := full.(*unstructured.Unstructured); ok {
		u.SetGroupVersionKind(partial.GroupVersionKind())
		if metadata, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&partial.ObjectMeta); err == nil {
			u.Object["metadata"] = metadata
		}
		return u
	}
	reflect.ValueOf(full).Elem().FieldByName("ObjectMeta").Set(reflect.ValueOf(partial.ObjectMeta))
	return full
}

// metadataLike returns an empty metadata object of the type of like, for a watch.
func metadataLike(scheme *runtime.Scheme, like client.Object) (client.Object, error) {
	gvk, _, err := typeOf(like, scheme)
	if err != nil {
		return nil, err
	}
	return newItem(scheme, gvk, metadataForm)
}

// dropLastApplied drops the body that "kubectl apply" repeats in an annotation.
func dropLastApplied(object client.Object) {
	annotations := object.GetAnnotations()
	if _, ok := annotations[corev1.LastAppliedConfigAnnotation]; ok {
		delete(annotations, corev1.LastAppliedConfigAnnotation)
		object.SetAnnotations(annotations)
	}
}

// isCompared reports whether the body of the virtual object was compared with its copy, and
// neither has changed since. Nothing else than the two decides what the copy looks like.
func (r *reconciler) isCompared(key types.NamespacedName, virtual, host client.Object) bool {
	return r.kind.metadataOnly && r.kind.up == nil && host != nil && r.compared.agree(key, virtual, host)
}

// readBody returns the virtual object as its API server has it, if the cache has its
// metadata alone. It returns nil if the object has been deleted or replaced: a watch
// is about to deliver that.
func (r *reconciler) readBody(s Scope, key types.NamespacedName, virtual client.Object) (client.Object, error) {
	if !r.kind.metadataOnly {
		return virtual, nil
	}
	full, err := getLive(s.Context, r.virtual.client, r.kind.newVirtual(), key)
	if err != nil {
		return nil, fmt.Errorf("cannot get virtual object %s: %w", key, err)
	}
	if full == nil || full.GetUID() != virtual.GetUID() {
		s.RequeueAfter(time.Second)
		return nil, nil
	}
	return full, nil
}
