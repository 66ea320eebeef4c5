package syncer

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// revertRefusedFields resets those status fields of object to their values in before that an
// Invalid error names. It reports whether there was such a field.
func revertRefusedFields(before, object client.Object, invalid error) (bool, error) {
	paths := refusedStatusFields(invalid)
	if len(paths) == 0 {
		return false, nil
	}
	old, err := toMap(before)
	if err != nil {
		return false, err
	}
	fields, err := toMap(object)
	if err != nil {
		return false, err
	}
	reverted := false
	for _, path := range paths {
		reverted = revertField(fields, old, path) || reverted
	}
	data, err := json.Marshal(fields)
	if err != nil {
		return false, fmt.Errorf("cannot encode the status of %s: %w", client.ObjectKeyFromObject(object), err)
	}
	patched := newEmpty(object)
	if err := json.Unmarshal(data, patched); err != nil {
		return false, fmt.Errorf("cannot decode the status of %s: %w", client.ObjectKeyFromObject(object), err)
	}
	copyStatus(object, patched)
	return reverted, nil
}

// refusedStatusFields returns the paths below status that an Invalid error names. The last item
// of a list comes first, so that removing it does not shift the others.
func refusedStatusFields(invalid error) [][]string {
	var status apierrors.APIStatus
	if !errors.As(invalid, &status) || status.Status().Details == nil {
		return nil
	}
	var paths [][]string
	for _, cause := range status.Status().Details.Causes {
		path := strings.FieldsFunc(cause.Field, func(c rune) bool { return c == '.' || c == '[' || c == ']' })
		if len(path) < 2 || path[0] != "status" {
			continue
		}
		if item := slices.IndexFunc(path, isIndex); item > 0 {
			path = path[:item+1]
		}
		paths = append(paths, path)
	}
	slices.SortFunc(paths, func(a, b []string) int {
		return slices.CompareFunc(b, a, comparePathSteps)
	})
	return slices.CompactFunc(paths, slices.Equal[[]string])
}

// isIndex reports whether a step of a path is an index into a list.
func isIndex(step string) bool {
	_, err := strconv.Atoi(step)
	return err == nil
}

// comparePathSteps compares two steps of a path: indexes as numbers, names as text.
func comparePathSteps(a, b string) int {
	i, errA := strconv.Atoi(a)
	j, errB := strconv.Atoi(b)
	if errA == nil && errB == nil {
		return i - j
	}
	return strings.Compare(a, b)
}

// revertField sets the field at path to its old value. An item of a list is replaced as
// a whole. It reports whether there was anything to set.
func revertField(fields, old map[string]any, path []string) bool {
	name := path[0]
	switch value := fields[name].(type) {
	case map[string]any:
		below, _ := old[name].(map[string]any)
		if len(path) > 1 && revertField(value, below, path[1:]) {
			return true
		}
	case []any:
		if index, ok := indexIn(value, path[1:]); ok {
			before, _ := old[name].([]any)
			fields[name] = revertItem(value, before, index)
			return true
		}
	}
	before, inOld := old[name]
	_, inNew := fields[name]
	if inOld {
		fields[name] = before
	} else {
		delete(fields, name)
	}
	return inOld || inNew
}

// indexIn returns the index into list that path begins with.
func indexIn(list []any, path []string) (int, bool) {
	if len(path) == 0 {
		return 0, false
	}
	index, err := strconv.Atoi(path[0])
	return index, err == nil && index >= 0 && index < len(list)
}

// revertItem returns list with the item at index replaced by the old item of its name,
// or without it if there is none.
func revertItem(list, old []any, index int) []any {
	id := itemName(list[index])
	for _, item := range old {
		if id != "" && itemName(item) == id {
			replaced := slices.Clone(list)
			replaced[index] = item
			return replaced
		}
	}
	return slices.Delete(slices.Clone(list), index, index+1)
}

// itemName returns the name or type of an item, which identifies it in Kubernetes.
func itemName(item any) string {
	fields, _ := item.(map[string]any)
	for _, key := range []string{"name", "type"} {
		if name, ok := fields[key].(string); ok {
			return key + "=" + name
		}
	}
	return ""
}
