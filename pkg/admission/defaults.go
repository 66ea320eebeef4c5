package admission

import (
	"encoding/json"
	"strconv"
	"sync"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apiserver/pkg/admission"

	"github.com/sublet-dev/sublet/pkg/policy"
)

const (
	// maxDefaults is how many values the defaults of a schema may add to one object in it. The items of a default have
	// defaults too, so that they multiply: three lists of 300 empty objects make 27 million of one. Each read from the store
	// adds them.
	maxDefaults = 1000
	// manyDefaults is where counts end. The true number may be larger.
	manyDefaults = 1_000_000
)

// checkDefaults denies a definition whose defaults multiply. An update may leave them as they are.
func checkDefaults(a admission.Attributes, o admission.ObjectInterfaces) ([]policy.Violation, error) {
	definition, err := toV1[apiextensionsv1.CustomResourceDefinition](a.GetObject(), o)
	if err != nil {
		return nil, err
	}
	count := countDefaults(definition)
	if count <= maxDefaults {
		return nil, nil
	}
	if a.GetOldObject() != nil {
		old, err := toV1[apiextensionsv1.CustomResourceDefinition](a.GetOldObject(), o)
		if err != nil || !addsMoreDefaults(old, definition, count) {
			return nil, err
		}
	}
	text := strconv.Itoa(count)
	if count >= manyDefaults {
		text = "at least " + strconv.Itoa(manyDefaults)
	}
	return []policy.Violation{{
		Field: "spec.versions", Value: "defaults of " + text + " values",
		Detail: "the control plane adds them to each object that it reads; use defaults that add at most " + strconv.Itoa(maxDefaults) + " values",
	}}, nil
}

// addsMoreDefaults reports whether an update of a definition may add more values than before. It cannot compare
// counts that have ended at manyDefaults.
func addsMoreDefaults(old, definition *apiextensionsv1.CustomResourceDefinition, count int) bool {
	if count < manyDefaults {
		return count > countDefaults(old)
	}
	return !apiequality.Semantic.DeepEqual(old.Spec.Versions, definition.Spec.Versions)
}

// countDefaults returns how many values the defaults of a definition add to one object at most. It ends at manyDefaults.
func countDefaults(definition *apiextensionsv1.CustomResourceDefinition) int {
	most := 0
	for _, version := range definition.Spec.Versions {
		if version.Schema != nil {
			most = max(most, newDefaultedSchema(version.Schema.OpenAPIV3Schema).largest())
		}
	}
	return most
}

// defaultedSchema is a schema whose defaults are counted once. Each count ends at manyDefaults, and takes as many steps as
// the schema and its defaults have values. All methods accept nil, a schema without defaults.
type defaultedSchema struct {
	value             any // the default, nil for none
	properties        map[string]*defaultedSchema
	items, additional *defaultedSchema
	// byDefault counts the values that the default of the schema adds, and toEmpty those that defaults of properties add to
	// an empty object. Both are counted once.
	byDefault, toEmpty func() int
}

// newDefaultedSchema reads the defaults of a schema.
func newDefaultedSchema(s *apiextensionsv1.JSONSchemaProps) *defaultedSchema {
	if s == nil {
		return nil
	}
	d := &defaultedSchema{properties: map[string]*defaultedSchema{}}
	d.byDefault, d.toEmpty = sync.OnceValue(d.countDefault), sync.OnceValue(d.countEmpty)
	if s.Default != nil {
		_ = json.Unmarshal(s.Default.Raw, &d.value) // The API server denies what is not JSON.
	}
	for name, property := range s.Properties {
		d.properties[name] = newDefaultedSchema(&property)
	}
	if s.Items != nil {
		d.items = newDefaultedSchema(s.Items.Schema)
	}
	if s.AdditionalProperties != nil {
		d.additional = newDefaultedSchema(s.AdditionalProperties.Schema)
	}
	return d
}

// ofItems returns the schema of the items of a list.
func (d *defaultedSchema) ofItems() *defaultedSchema {
	if d == nil {
		return nil
	}
	return d.items
}

// ofProperty returns the schema of a property of an object.
func (d *defaultedSchema) ofProperty(name string) *defaultedSchema {
	if d == nil {
		return nil
	}
	if property, ok := d.properties[name]; ok {
		return property
	}
	return d.additional
}

// countDefault counts the values that the default of the schema adds.
func (d *defaultedSchema) countDefault() int {
	if d.value == nil {
		return 0
	}
	return d.sizeOf(d.value)
}

// countEmpty counts the values that defaults add to an empty object.
func (d *defaultedSchema) countEmpty() int {
	added := 0
	for _, property := range d.properties {
		added = min(added+property.byDefault(), manyDefaults)
	}
	return added
}

// sizeOf returns how many values a value of the schema has, with those that defaults add.
func (d *defaultedSchema) sizeOf(value any) int {
	size := 1
	switch value := value.(type) {
	case []any:
		for _, item := range value {
			if size += d.ofItems().sizeOf(item); size >= manyDefaults {
				return manyDefaults
			}
		}
	case map[string]any:
		size += d.addedTo(value)
		for name, property := range value {
			if size += d.ofProperty(name).sizeOf(property); size >= manyDefaults {
				return manyDefaults
			}
		}
	}
	return min(size, manyDefaults)
}

// addedTo returns how many values defaults add to an object that has some properties. It looks at these only, as a schema
// may have many properties, and a default many objects.
func (d *defaultedSchema) addedTo(object map[string]any) int {
	if d == nil {
		return 0
	}
	added := d.toEmpty()
	if added >= manyDefaults {
		return added // The definition is denied for an empty object.
	}
	for name := range object {
		if property := d.properties[name]; property != nil {
			added -= property.byDefault()
		}
	}
	return added
}

// largest returns the most values that defaults add to one empty object of the schema, or of any schema in it.
func (d *defaultedSchema) largest() int {
	if d == nil {
		return 0
	}
	most := max(d.toEmpty(), d.items.largest(), d.additional.largest())
	for _, property := range d.properties {
		most = max(most, property.largest())
	}
	return most
}
