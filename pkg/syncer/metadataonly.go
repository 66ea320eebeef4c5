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

// metadataStore is the store of a kind with MetadataOnly. It returns objects of the kind's type
// that have nothing but metadata.
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

// dropKubectlLastApplied removes the annotation in which "kubectl apply" stores the whole
// object.
func dropKubectlLastApplied(object client.Object) {
	annotations := object.GetAnnotations()
	if _, ok := annotations[corev1.LastAppliedConfigAnnotation]; ok {
		delete(annotations, corev1.LastAppliedConfigAnnotation)
		object.SetAnnotations(annotations)
	}
}

// isCompared reports whether the virtual object was found equal to its copy, and neither has
// changed since. The copies of such a kind must depend on nothing but the virtual object.
func (r *reconciler) isCompared(key types.NamespacedName, virtual, host client.Object) bool {
	return r.kind.metadataOnly && r.kind.up == nil && host != nil && r.compared.agree(key, virtual, host)
}

// readBody returns virtual with its body. If the cache only has metadata, it reads the object
// from the API server. It returns nil if the object was deleted or replaced, which a watch is
// about to deliver.
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
