package syncer

import (
	"context"
	"reflect"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
)

// getLive reads an object of the type of like from the API server, not from a
// cache. It returns nil if there is none.
func getLive(ctx context.Context, c client.Client, like client.Object, key types.NamespacedName) (client.Object, error) {
	object := newEmpty(like)
	err := c.Get(ctx, key, object)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return object, nil
}

// virtualUID returns the UID of the virtual object that a host object was created for.
func virtualUID(host client.Object) types.UID {
	return types.UID(host.GetAnnotations()[labels.VirtualUID])
}

// hasUIDOf reports whether a host object of ours was created for this virtual object. A pending
// copy has no UID yet and belongs to whichever object gets the name.
func hasUIDOf(host, virtual client.Object) bool {
	uid := virtualUID(host)
	return uid == labels.Pending || uid == virtual.GetUID()
}

// isTerminating reports whether the deletion of an object has begun.
func isTerminating(object client.Object) bool {
	return object != nil && object.GetDeletionTimestamp() != nil
}

// isShorter reports whether a is a shorter grace period than b. It is false if one is nil.
func isShorter(a, b *int64) bool {
	return a != nil && b != nil && *a < *b
}

// deepCopy returns a deep copy of object.
func deepCopy(object client.Object) client.Object {
	return object.DeepCopyObject().(client.Object)
}

// newEmpty returns an empty object of the type and the name of object.
func newEmpty(object client.Object) client.Object {
	var empty client.Object
	if u, ok := object.(*unstructured.Unstructured); ok {
		fresh := &unstructured.Unstructured{}
		fresh.SetGroupVersionKind(u.GroupVersionKind())
		empty = fresh
	} else {
		empty = reflect.New(reflect.TypeOf(object).Elem()).Interface().(client.Object)
	}
	empty.SetNamespace(object.GetNamespace())
	empty.SetName(object.GetName())
	return empty
}

// statusOf returns the status of an object, nil if its type has none.
func statusOf(object client.Object) any {
	if u, ok := object.(*unstructured.Unstructured); ok {
		return u.Object["status"]
	}
	if field := reflect.ValueOf(object).Elem().FieldByName("Status"); field.IsValid() {
		return field.Interface()
	}
	return nil
}

// copyStatus sets the status of object to that of from.
func copyStatus(object, from client.Object) {
	if u, ok := object.(*unstructured.Unstructured); ok {
		status, ok := from.(*unstructured.Unstructured).Object["status"]
		if !ok {
			delete(u.Object, "status")
			return
		}
		u.Object["status"] = status
		return
	}
	if field := reflect.ValueOf(object).Elem().FieldByName("Status"); field.IsValid() {
		field.Set(reflect.ValueOf(from).Elem().FieldByName("Status"))
	}
}

// equalValues compares two values semantically: an empty list equals nil, and quantities are
// compared by amount. It tries the plain comparison first, which is faster and mostly true.
func equalValues(a, b any) bool {
	return reflect.DeepEqual(a, b) || equality.Semantic.DeepEqual(a, b)
}

// equalBesidesStatus compares two objects of a type, except for their status.
func equalBesidesStatus(a, b client.Object) bool {
	if u, ok := a.(*unstructured.Unstructured); ok {
		return equalValues(withoutStatus(u), withoutStatus(b.(*unstructured.Unstructured)))
	}
	left, right := reflect.ValueOf(a).Elem(), reflect.ValueOf(b).Elem()
	for i := range left.NumField() {
		name := left.Type().Field(i).Name
		if name == "Status" || name == "TypeMeta" {
			continue
		}
		if !equalValues(left.Field(i).Interface(), right.Field(i).Interface()) {
			return false
		}
	}
	return true
}

// withoutStatus returns a shallow copy of an object that lacks the status.
func withoutStatus(u *unstructured.Unstructured) map[string]any {
	rest := make(map[string]any, len(u.Object))
	for key, value := range u.Object {
		if key != "status" {
			rest[key] = value
		}
	}
	return rest
}
