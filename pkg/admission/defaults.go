package admission

import (
	"encoding/json"
	"strconv"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"

	"github.com/sublet-dev/sublet/pkg/policy"
)

// maxDefaults is how many values the defaults of a schema may add to one object in it. The items of a default have defaults
// too, so that they multiply: three lists of 300 empty objects make 27 million of one. Each read from the store adds them.
const maxDefaults = 1000

// checkDefaults denies a definition whose defaults multiply. An update may leave them as they are.
func checkDefaults(a admission.Attributes, o admission.ObjectInterfaces) ([]policy.Violation, error) {
	count, err := countDefaults(a.GetObject(), o)
	if err != nil || count <= maxDefaults {
		return nil, err
	}
	if a.GetOldObject() != nil {
		before, err := countDefaults(a.GetOldObject(), o)
		if err != nil || count <= before {
			return nil, err
		}
	}
	return []policy.Violation{{
		Field: "spec.versions", Value: "defaults of " + strconv.FormatFloat(count, 'g', 3, 64) + " values",
		Detail: "the control plane adds them to each object that it reads; use defaults that add at most " + strconv.Itoa(maxDefaults) + " values",
	}}, nil
}

// countDefaults returns how many values the defaults of a definition add to one object at most.
func countDefaults(object runtime.Object, o admission.ObjectInterfaces) (float64, error) {
	definition, err := toV1[apiextensionsv1.CustomResourceDefinition](object, o)
	if err != nil {
		return 0, err
	}
	most := 0.0
	for _, version := range definition.Spec.Versions {
		if version.Schema != nil {
			most = max(most, newDefaultedSchema(version.Schema.OpenAPIV3Schema).largest())
		}
	}
	return most, nil
}

// defaultedSchema is a schema whose defaults are counted once. All methods accept nil, a schema without defaults.
type defaultedSchema struct {
	value             any // the default, nil for none
	properties        map[string]*defaultedSchema
	items, additional *defaultedSchema
	counted           bool
	added             float64 // by the default, once counted
}

// newDefaultedSchema reads the defaults of a schema.
func newDefaultedSchema(s *apiextensionsv1.JSONSchemaProps) *defaultedSchema {
	if s == nil {
		return nil
	}
	d := &defaultedSchema{properties: map[string]*defaultedSchema{}}
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

// addedByDefault returns how many values the default of the schema adds.
func (d *defaultedSchema) addedByDefault() float64 {
	if d == nil || d.value == nil {
		return 0
	}
	if !d.counted {
		d.counted = true
		d.added = d.sizeOf(d.value)
	}
	return d.added
}

// sizeOf returns how many values a value of the schema has, with those that defaults add.
func (d *defaultedSchema) sizeOf(value any) float64 {
	size := 1.0
	switch value := value.(type) {
	case []any:
		for _, item := range value {
			size += d.ofItems().sizeOf(item)
		}
	case map[string]any:
		size += d.addedTo(value)
		for name, property := range value {
			size += d.ofProperty(name).sizeOf(property)
		}
	}
	return size
}

// addedTo returns how many values defaults add to an object that has some properties.
func (d *defaultedSchema) addedTo(object map[string]any) (added float64) {
	if d == nil {
		return 0
	}
	for name, property := range d.properties {
		if _, found := object[name]; !found {
			added += property.addedByDefault()
		}
	}
	return added
}

// largest returns the most values that defaults add to one empty object of the schema, or of any schema in it.
func (d *defaultedSchema) largest() float64 {
	if d == nil {
		return 0
	}
	most := max(d.addedTo(nil), d.items.largest(), d.additional.largest())
	for _, property := range d.properties {
		most = max(most, property.largest())
	}
	return most
}
