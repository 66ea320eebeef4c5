package kinds

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	apilabels "k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/syncer"
)

// shelf is a [client.Reader] over a few objects. It lists by an index only if
// the resource asked for that index, as a cache does.
type shelf struct {
	objects []client.Object
	side    syncer.Side
	indexes []syncer.Index
}

func newShelf(objects []client.Object, side syncer.Side, indexes []syncer.Index) *shelf {
	return &shelf{objects: objects, side: side, indexes: indexes}
}

func (s *shelf) Get(_ context.Context, key client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	for _, object := range s.objects {
		if reflectType(object) == reflectType(into) && client.ObjectKeyFromObject(object) == key {
			reflect.ValueOf(into).Elem().Set(reflect.ValueOf(object.DeepCopyObject()).Elem())
			return nil
		}
	}
	return apierrors.NewNotFound(schema.GroupResource{Resource: reflectType(into).Name()}, key.Name)
}

func (s *shelf) List(_ context.Context, into client.ObjectList, options ...client.ListOption) error {
	var how client.ListOptions
	how.ApplyOptions(options)
	var found []runtime.Object
	for _, object := range s.objects {
		if reflectType(object).Name()+"List" != reflectType(into).Name() || how.Namespace != "" && object.GetNamespace() != how.Namespace {
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

// matches says whether an object is under the value of an index.
func (s *shelf) matches(object client.Object, how client.ListOptions) (bool, error) {
	if how.FieldSelector == nil {
		return true, nil
	}
	for _, requirement := range how.FieldSelector.Requirements() {
		i := slices.IndexFunc(s.indexes, func(i syncer.Index) bool {
			return i.Side == s.side && i.Field == requirement.Field && reflectType(i.Object) == reflectType(object)
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

func reflectType(object any) reflect.Type { return reflect.TypeOf(object).Elem() }

func apiLabels(object client.Object) apilabels.Set { return object.GetLabels() }

// newOf is a copy of seen, or an empty object where there is none.
func newOf[T client.Object](seen client.Object) T {
	if seen != nil {
		return seen.DeepCopyObject().(T)
	}
	return reflect.New(reflect.TypeFor[T]().Elem()).Interface().(T)
}

// plain is object as JSON has it, without what is empty.
func plain(t *testing.T, object client.Object) any {
	t.Helper()
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
