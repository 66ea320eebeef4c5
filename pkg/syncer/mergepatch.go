package syncer

import (
	"fmt"
	"reflect"

	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
)

// mergePatch returns the JSON merge patch that turns before into after. It includes the UID of
// before as a precondition, so that it never changes another object of the same name.
func mergePatch(before, after client.Object) (map[string]any, error) {
	from, err := toMap(before)
	if err != nil {
		return nil, err
	}
	to, err := toMap(after)
	if err != nil {
		return nil, err
	}
	fields := diffObjects(from, to)
	metadataOf(fields)["uid"] = string(before.GetUID())
	return fields, nil
}

// diffObjects returns the JSON merge patch that turns before into after. The jsonpatch library
// decodes numbers as floats, which would change large ones.
func diffObjects(before, after map[string]any) map[string]any {
	patch := map[string]any{}
	for key := range before {
		if _, ok := after[key]; !ok {
			patch[key] = nil
		}
	}
	for key, value := range after {
		old, ok := before[key]
		if ok && reflect.DeepEqual(old, value) {
			continue
		}
		from, wasObject := old.(map[string]any)
		to, isObject := value.(map[string]any)
		if wasObject && isObject {
			value = diffObjects(from, to)
		}
		patch[key] = value
	}
	return patch
}

// metadataOf returns the metadata of a merge patch. It adds an empty one if there is none.
func metadataOf(fields map[string]any) map[string]any {
	metadata, ok := fields["metadata"].(map[string]any)
	if !ok {
		metadata = map[string]any{}
		fields["metadata"] = metadata
	}
	return metadata
}

// withResourceVersion makes a merge patch fail with a conflict on any other version.
func withResourceVersion(fields map[string]any, version string) {
	metadataOf(fields)["resourceVersion"] = version
}

// hasList reports whether a merge patch contains a list. Such a patch replaces the whole
// list, including what others have written to it since the object was read.
func hasList(value any) bool {
	switch v := value.(type) {
	case []any:
		return true
	case map[string]any:
		for _, field := range v {
			if hasList(field) {
				return true
			}
		}
	}
	return false
}

// omitLastApplied removes the annotation [labels.LastApplied] from a merge patch. It reports
// whether the patch is then empty.
func omitLastApplied(fields map[string]any) (empty bool) {
	metadata := metadataOf(fields)
	annotations, ok := metadata["annotations"].(map[string]any)
	if !ok {
		return false
	}
	delete(annotations, labels.LastApplied)
	if len(annotations) == 0 {
		delete(metadata, "annotations")
	}
	return len(fields) == 1 && len(metadata) == 1 // The UID alone.
}

// toMap returns the fields of an object. Whole numbers stay integers.
func toMap(object client.Object) (map[string]any, error) {
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		return nil, fmt.Errorf("cannot encode %s: %w", client.ObjectKeyFromObject(object), err)
	}
	return fields, nil
}
