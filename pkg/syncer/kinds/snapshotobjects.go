package kinds

import (
	"context"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/policy"
	"github.com/sublet-dev/sublet/pkg/syncer"
)

// snapshotGroup is the API group of volume snapshots. They are custom resources, so their objects are
// unstructured.
const snapshotGroup = policy.SnapshotGroup

// defaultSnapshotClass is the annotation of the default snapshot class.
const defaultSnapshotClass = "snapshot.storage.kubernetes.io/is-default-class"

// emptySnapshotObject returns an empty object of a kind of snapshotGroup.
func emptySnapshotObject(kind string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(schema.GroupVersionKind{Group: snapshotGroup, Version: "v1", Kind: kind})
	return u
}

func emptySnapshot() *unstructured.Unstructured { return emptySnapshotObject("VolumeSnapshot") }
func emptySnapshotContent() *unstructured.Unstructured {
	return emptySnapshotObject("VolumeSnapshotContent")
}
func emptySnapshotClass() *unstructured.Unstructured {
	return emptySnapshotObject("VolumeSnapshotClass")
}

// field returns a text in an object, empty if there is none.
func field(object *unstructured.Unstructured, path ...string) string {
	text, _, _ := unstructured.NestedString(object.Object, path...)
	return text
}

// setFields sets the top-level fields of an object to those of another one.
func setFields(object, from *unstructured.Unstructured, names ...string) {
	from = from.DeepCopy()
	for _, name := range names {
		if value, ok := from.Object[name]; ok {
			object.Object[name] = value
		} else {
			delete(object.Object, name)
		}
	}
}

// listSnapshotObjects returns all objects of a kind of snapshotGroup that a reader has.
func listSnapshotObjects(ctx context.Context, reader client.Reader, kind string, options ...client.ListOption) ([]unstructured.Unstructured, error) {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(emptySnapshotObject(kind + "List").GroupVersionKind())
	err := reader.List(ctx, list, append(options, client.UnsafeDisableDeepCopy)...)
	return list.Items, err
}

// ListSnapshotClasses returns the snapshot classes of the host that a reader has.
func ListSnapshotClasses(ctx context.Context, reader client.Reader) ([]policy.SnapshotClass, error) {
	found, err := listSnapshotObjects(ctx, reader, "VolumeSnapshotClass")
	if err != nil {
		return nil, err
	}
	classes := make([]policy.SnapshotClass, len(found))
	for i := range found {
		classes[i] = policy.SnapshotClass{Name: found[i].GetName(), IsDefault: found[i].GetAnnotations()[defaultSnapshotClass] == "true"}
	}
	return classes, nil
}

// shownSnapshotClass returns the snapshot class of the host that the tenant sees under a
// name, nil if there is none.
func shownSnapshotClass(s syncer.Scope, name string) (*unstructured.Unstructured, error) {
	if name == "" {
		return nil, nil //nolint:nilnil // No class has that name.
	}
	class := emptySnapshotClass()
	found, err := lookUp(s, syncer.Virtual, types.NamespacedName{Name: name}, class)
	if err != nil || !found || !isShownClass(class) {
		return nil, err
	}
	return class, nil
}

// isShownClass reports whether a virtual snapshot class is the copy of one of the host.
func isShownClass(class *unstructured.Unstructured) bool {
	return class.GetAnnotations()[labels.HostUID] != "" && class.GetDeletionTimestamp() == nil
}
