package custom

import (
	"fmt"
	"maps"
	"slices"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/sublet-dev/sublet/pkg/translate"
)

// quantityTree is the fields of a kind that may be quantities, with what is below them. Controllers of the host
// decode them, whatever the rules for references are.
type quantityTree struct {
	// found specifies that a text is one. It also counts for all below that has no tree.
	found  bool
	fields map[string]*quantityTree
	each   *quantityTree // items or values
}

// newQuantityTree returns the quantities below a schema, nil if there are none. Where a schema allows anything,
// each text may be one.
func newQuantityTree(schema *apiextensionsv1.JSONSchemaProps) *quantityTree {
	tree := &quantityTree{found: schema.XIntOrString || isOpaque(schema), fields: map[string]*quantityTree{}}
	for key, property := range schema.Properties {
		if below := newQuantityTree(&property); below != nil {
			tree.fields[key] = below
		}
	}
	switch {
	case schema.Items != nil && schema.Items.Schema != nil:
		tree.each = newQuantityTree(schema.Items.Schema)
	case schema.AdditionalProperties != nil && schema.AdditionalProperties.Schema != nil:
		tree.each = newQuantityTree(schema.AdditionalProperties.Schema)
	}
	if !tree.found && len(tree.fields) == 0 && tree.each == nil {
		return nil
	}
	return tree
}

// below returns the tree of a field, or of an item if key is empty.
func (q *quantityTree) below(key string) *quantityTree {
	if tree, ok := q.fields[key]; ok {
		return tree
	}
	if q.each == nil && q.found {
		return q
	}
	return q.each
}

// checkQuantities denies quantities for which Kubernetes computes for hours.
func (w *walk) checkQuantities(q *quantityTree, value any, path string) {
	if q == nil || w.isFull() {
		return
	}
	switch value := value.(type) {
	case string:
		if q.found && translate.HasHugeExponent(value) {
			w.deny(path, value, "the host would compute with it for hours; use an exponent of at most three digits")
		}
	case []any:
		for i := range value {
			w.checkQuantities(q.below(""), value[i], fmt.Sprintf("%s[%d]", path, i))
		}
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(value)) {
			w.checkQuantities(q.below(key), value[key], join(path, key))
		}
	}
}
