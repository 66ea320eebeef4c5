package kinds

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"testing"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	apilabels "k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/syncer"
)

// shelf is an API server with a few objects. It lists by an index only if the kind has
// that index, as a cache does.
type shelf struct {
	client.Client // panics for what the engine should not use

	objects  []client.Object
	side     syncer.Side
	indexes  []syncer.Index
	requests []string // those that write
	reads    int
	created  map[types.UID]bool
	deleted  client.Object // the last one
}

func newShelf(side syncer.Side, indexes []syncer.Index) *shelf {
	return &shelf{side: side, indexes: indexes, created: map[types.UID]bool{}}
}

// putObject stores an object, in place of one of its type and name.
func (s *shelf) putObject(object client.Object) {
	s.removeObject(object)
	s.objects = append(s.objects, object.DeepCopyObject().(client.Object))
}

func (s *shelf) removeObject(object client.Object) {
	s.objects = slices.DeleteFunc(s.objects, func(o client.Object) bool { return isSame(o, object, client.ObjectKeyFromObject(object)) })
}

func isSame(object, like client.Object, key types.NamespacedName) bool {
	return isOfType(object, like) && client.ObjectKeyFromObject(object) == key
}

// isOfType reports whether an object has the type of like. Objects without a Go type have a
// kind instead.
func isOfType(object, like client.Object) bool {
	if a, ok := object.(*unstructured.Unstructured); ok {
		b, ok := like.(*unstructured.Unstructured)
		return ok && a.GroupVersionKind() == b.GroupVersionKind()
	}
	return reflectType(object) == reflectType(like)
}

// isInList reports whether an object may be in a list of the type of list.
func isInList(object client.Object, list client.ObjectList) bool {
	if u, ok := list.(*unstructured.UnstructuredList); ok {
		item, ok := object.(*unstructured.Unstructured)
		return ok && item.GetKind()+"List" == u.GetKind()
	}
	return reflectType(object).Name()+"List" == reflectType(list).Name()
}

// ofKey returns the object of the type of like with that name, nil if there is none.
func (s *shelf) ofKey(like client.Object, key types.NamespacedName) client.Object {
	for _, object := range s.objects {
		if isSame(object, like, key) {
			return object
		}
	}
	return nil
}

// ofType returns all objects of the type of like.
func (s *shelf) ofType(like client.Object) []client.Object {
	var found []client.Object
	for _, object := range s.objects {
		if isOfType(object, like) {
			found = append(found, object)
		}
	}
	return found
}

func (s *shelf) Get(_ context.Context, key client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	s.reads++
	if metadata, ok := into.(*metav1.PartialObjectMetadata); ok {
		return s.getMetadata(key, metadata)
	}
	object := s.ofKey(into, key)
	if object == nil {
		return apierrors.NewNotFound(schema.GroupResource{Resource: reflectType(into).Name()}, key.Name)
	}
	copyInto(object, into)
	return nil
}

// getMetadata reads the metadata of an object whose type the metadata names.
func (s *shelf) getMetadata(key client.ObjectKey, into *metav1.PartialObjectMetadata) error {
	for _, object := range s.objects {
		if reflectType(object).Name() == into.Kind && client.ObjectKeyFromObject(object) == key {
			into.SetUID(object.GetUID())
			into.SetName(object.GetName())
			into.SetAnnotations(object.GetAnnotations())
			return nil
		}
	}
	return apierrors.NewNotFound(schema.GroupResource{Resource: into.Kind}, key.Name)
}

func copyInto(from, into client.Object) {
	reflect.ValueOf(into).Elem().Set(reflect.ValueOf(from.DeepCopyObject()).Elem())
}

func (s *shelf) List(_ context.Context, into client.ObjectList, options ...client.ListOption) error {
	s.reads++
	var how client.ListOptions
	how.ApplyOptions(options)
	var found []runtime.Object
	for _, object := range s.objects {
		if !isInList(object, into) || how.Namespace != "" && object.GetNamespace() != how.Namespace {
			continue
		}
		if how.LabelSelector != nil && !how.LabelSelector.Matches(apilabels.Set(object.GetLabels())) {
			continue
		}
		match, err := s.matches(object, how)
		if err != nil {
			return err
		}
		if match && (how.Limit == 0 || int64(len(found)) < how.Limit) {
			found = append(found, object.DeepCopyObject())
		}
	}
	return meta.SetList(into, found)
}

// matches reports whether an object is under the value of an index.
func (s *shelf) matches(object client.Object, how client.ListOptions) (bool, error) {
	if how.FieldSelector == nil {
		return true, nil
	}
	for _, requirement := range how.FieldSelector.Requirements() {
		i := slices.IndexFunc(s.indexes, func(i syncer.Index) bool {
			return i.Side == s.side && i.Field == requirement.Field && isOfType(object, i.Object)
		})
		if i < 0 {
			return false, fmt.Errorf("the %v side has no index %s of %T", s.side, requirement.Field, object)
		}
		if !slices.Contains(s.indexes[i].Values(object), requirement.Value) {
			return false, nil
		}
	}
	return true, nil
}

func (s *shelf) record(verb string, object client.Object) {
	s.requests = append(s.requests, fmt.Sprintf("%s %s %s", verb, reflectType(object).Name(), object.GetName()))
}

func (s *shelf) Create(_ context.Context, object client.Object, _ ...client.CreateOption) error {
	if _, isEvent := object.(*corev1.Event); isEvent && object.GetGenerateName() != "" {
		return nil // An Event for the tenant.
	}
	if s.ofKey(object, client.ObjectKeyFromObject(object)) != nil {
		return apierrors.NewAlreadyExists(schema.GroupResource{Resource: reflectType(object).Name()}, object.GetName())
	}
	s.record("create", object)
	if object.GetUID() == "" {
		object.SetUID(types.UID("new-uid-of-" + object.GetName()))
		s.created[object.GetUID()] = true
	}
	s.putObject(object)
	return nil
}

func (s *shelf) Update(_ context.Context, object client.Object, _ ...client.UpdateOption) error {
	return s.update("update", object, func(stored, next client.Object) { setStatus(next, stored) })
}

// update stores an object without the part that keep takes from the stored one.
func (s *shelf) update(verb string, object client.Object, keep func(stored, next client.Object)) error {
	stored := s.ofKey(object, client.ObjectKeyFromObject(object))
	if stored == nil {
		return apierrors.NewNotFound(schema.GroupResource{Resource: reflectType(object).Name()}, object.GetName())
	}
	s.record(verb, object)
	next := object.DeepCopyObject().(client.Object)
	keep(stored, next)
	s.putObject(next)
	copyInto(next, object)
	return nil
}

// setStatus gives an object the status of another one.
func setStatus(object, from client.Object) {
	if u, ok := object.(*unstructured.Unstructured); ok {
		setFields(u, from.(*unstructured.Unstructured), "status")
		return
	}
	if field := reflect.ValueOf(object).Elem().FieldByName("Status"); field.IsValid() {
		field.Set(reflect.ValueOf(from).Elem().FieldByName("Status"))
	}
}

func (s *shelf) Patch(_ context.Context, object client.Object, patch client.Patch, _ ...client.PatchOption) error {
	return s.patch("patch", object, patch)
}

func (s *shelf) patch(verb string, object client.Object, patch client.Patch) error {
	stored := s.ofKey(object, client.ObjectKeyFromObject(object))
	if stored == nil {
		return apierrors.NewNotFound(schema.GroupResource{Resource: reflectType(object).Name()}, object.GetName())
	}
	s.record(verb, object)
	data, err := patch.Data(object)
	if err != nil {
		return err
	}
	before, err := json.Marshal(stored)
	if err != nil {
		return err
	}
	after, err := jsonpatch.MergePatch(before, data)
	if err != nil {
		return err
	}
	next := reflect.New(reflectType(stored)).Interface().(client.Object)
	if err := json.Unmarshal(after, next); err != nil {
		return err
	}
	s.putObject(next)
	copyInto(next, object)
	return nil
}

func (s *shelf) Delete(_ context.Context, object client.Object, options ...client.DeleteOption) error {
	var how client.DeleteOptions
	how.ApplyOptions(options)
	stored := s.ofKey(object, client.ObjectKeyFromObject(object))
	if stored == nil {
		return apierrors.NewNotFound(schema.GroupResource{Resource: reflectType(object).Name()}, object.GetName())
	}
	s.record("delete", object)
	s.deleted = stored
	if grace := how.GracePeriodSeconds; grace != nil && *grace > 0 {
		// A kubelet removes it later.
		next := stored.DeepCopyObject().(client.Object)
		next.SetDeletionTimestamp(&metav1.Time{Time: testNow()})
		next.SetDeletionGracePeriodSeconds(grace)
		s.putObject(next)
		return nil
	}
	s.removeObject(stored)
	return nil
}

func (s *shelf) Status() client.SubResourceWriter { return &subresource{shelf: s, name: "status"} }

func (s *shelf) SubResource(name string) client.SubResourceClient {
	return &subresource{shelf: s, name: name}
}

// subresource is a subresource of the objects of a shelf.
type subresource struct {
	client.SubResourceClient // panics for what the engine should not use

	shelf *shelf
	name  string
}

func (r *subresource) Update(_ context.Context, object client.Object, _ ...client.SubResourceUpdateOption) error {
	return r.shelf.update("update "+r.name, object, func(stored, next client.Object) {
		status := next.DeepCopyObject().(client.Object)
		copyInto(stored, next)
		setStatus(next, status)
	})
}

func (r *subresource) Patch(_ context.Context, object client.Object, patch client.Patch, _ ...client.SubResourcePatchOption) error {
	return r.shelf.patch("patch "+r.name, object, patch)
}

// Create implements the binding of a pod.
func (r *subresource) Create(_ context.Context, object, binding client.Object, _ ...client.SubResourceCreateOption) error {
	return r.shelf.update("create "+r.name, object, func(stored, next client.Object) {
		copyInto(stored, next)
		next.(*corev1.Pod).Spec.NodeName = binding.(*corev1.Binding).Target.Name
	})
}

// plain returns an object as JSON has it, without what is empty and what the shelf has
// assigned.
func (s *shelf) plain(t *testing.T, object client.Object) any {
	t.Helper()
	object = object.DeepCopyObject().(client.Object)
	if s.created[object.GetUID()] {
		object.SetUID("")
	}
	text, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	var value map[string]any
	if err := json.Unmarshal(text, &value); err != nil {
		t.Fatal(err)
	}
	return pruned(value)
}

func pruned(value any) any {
	object, ok := value.(map[string]any)
	if !ok {
		return value
	}
	for key, inner := range object {
		inner = pruned(inner)
		if nested, ok := inner.(map[string]any); inner == nil || ok && len(nested) == 0 {
			delete(object, key)
		} else {
			object[key] = inner
		}
	}
	return object
}

func reflectType(object any) reflect.Type { return reflect.TypeOf(object).Elem() }
