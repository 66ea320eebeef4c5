package custom

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
)

// each is the step of a path to the items of a list or the values of a map.
const each = "[*]"

// pullPolicy is the field next to an image that specifies when it is pulled.
const pullPolicy = "imagePullPolicy"

// fieldTree has the only fields that pass. nil passes all.
type fieldTree struct {
	whole bool                  // passes with all that is below it
	below map[string]*fieldTree // by the steps of paths
}

// newFieldTree returns the fields of the settings, nil if they list none.
func newFieldTree(o Options) *fieldTree {
	if len(o.AllowedFields) == 0 {
		return nil
	}
	root := &fieldTree{}
	for _, path := range o.AllowedFields {
		root.add(path)
	}
	for _, reference := range o.References {
		root.add(reference.Path)
	}
	return root
}

// add adds a path to the fields that pass.
func (f *fieldTree) add(path string) {
	for _, step := range stepsOf(path) {
		next := f.below[step]
		if next == nil {
			next = &fieldTree{}
		}
		if f.below == nil {
			f.below = map[string]*fieldTree{}
		}
		f.below[step] = next
		f = next
	}
	f.whole = true
}

// has reports whether a path, or a part of what is below it, passes.
func (f *fieldTree) has(path string) bool {
	if f == nil {
		return true
	}
	for _, step := range stepsOf(path) {
		if f == nil || f.whole || step == each && f.below[each] == nil && len(f.below) > 0 {
			break // With keys of a map, some of its values pass.
		}
		f = f.below[step]
	}
	return f != nil
}

// stepsOf returns the steps of a path: names of fields, and [*] for items and values.
func stepsOf(path string) []string {
	var steps []string
	for part := range strings.SplitSeq(path, ".") {
		steps = append(steps, strings.ReplaceAll(part, each, ""))
		for range strings.Count(part, each) {
			steps = append(steps, each)
		}
	}
	return steps
}

// checkAllowedFields fails if the schema lacks a field that the settings list. Where images are always
// pulled, it also fails if an image has no pull policy next to it.
func checkAllowedFields(schema *apiextensionsv1.JSONSchemaProps, o Options) error {
	for _, path := range o.AllowedFields {
		if !hasPath(schema, stepsOf(path)) {
			return fmt.Errorf("%s.allowedFields: %s is no field of the schema", o.Setting, path)
		}
	}
	for _, reference := range o.References {
		steps := stepsOf(reference.Path)
		if reference.To != v1alpha1.ToImage || !hasPath(schema, steps) {
			continue
		}
		last := steps[len(steps)-1] // A map of images has no other keys, and so no policy.
		if steps[len(steps)-1] = pullPolicy; o.Images.AlwaysPull && (last == each || !hasPath(schema, steps)) {
			return fmt.Errorf("%s.references: %s has no field %s next to it, and policies.images.alwaysPull is on", o.Setting, reference.Path, pullPolicy)
		}
	}
	return nil
}

// hasPath reports whether a schema describes the field of a path. A map may have any key.
func hasPath(schema *apiextensionsv1.JSONSchemaProps, steps []string) bool {
	for _, step := range steps {
		property, isField := schema.Properties[step]
		switch {
		case isField:
			schema = &property
		case step == each && schema.Items != nil && schema.Items.Schema != nil:
			schema = schema.Items.Schema
		case schema.AdditionalProperties != nil && schema.AdditionalProperties.Schema != nil:
			schema = schema.AdditionalProperties.Schema
		default:
			return false
		}
	}
	return true
}

// checkAllowed denies each field of a value that is not in the tree.
func (w *walk) checkAllowed(f *fieldTree, value any, path string) {
	if f == nil || f.whole || w.isFull() {
		return
	}
	switch value := value.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(value)) {
			below, at := f.below[key], join(path, key)
			if below == nil && f.below[each] != nil {
				below, at = f.below[each], path+"["+key+"]"
			}
			w.checkListed(below, value[key], at)
		}
	case []any:
		for i := range value {
			w.checkListed(f.below[each], value[i], fmt.Sprintf("%s[%d]", path, i))
		}
	default:
		w.checkListed(nil, value, path) // Only a part of an object is in the tree.
	}
}

// checkListed denies a value that is not in the tree, and else what is below it that is not. No value, nil,
// passes. An empty text is denied, as a key of a map means something with it.
func (w *walk) checkListed(f *fieldTree, value any, path string) {
	switch {
	case value == nil:
	case f == nil:
		w.denyBySetting(w.plan.setting+".allowedFields", path, value, "is not one of the fields that pass; leave it out")
	default:
		w.checkAllowed(f, value, path)
	}
}

// withoutBelow returns the problems without those of fields that are refused as a whole. The first of the
// problems are about these.
func withoutBelow(problems, refused []Problem) []Problem {
	kept := problems[:len(refused)]
	for _, p := range problems[len(refused):] {
		if !slices.ContainsFunc(refused, func(whole Problem) bool {
			return p.Path == whole.Path || strings.HasPrefix(p.Path, whole.Path+".") || strings.HasPrefix(p.Path, whole.Path+"[")
		}) {
			kept = append(kept, p)
		}
	}
	return kept
}
