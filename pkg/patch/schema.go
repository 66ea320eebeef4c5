package patch

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// form is the form of a value.
type form string

// The forms.
const (
	anything form = "anything"
	text     form = "text"
	whole    form = "a whole number"
	number   form = "a number"
	truth    form = "true or false"
	object   form = "a map"
	list     form = "a list"
)

// Schema describes the objects of a kind. A nil one allows everything.
type Schema interface {
	// form returns the form of the value.
	form() form
	// below returns the schema of a field, or of the items with the key *. ok is false if
	// there is none.
	below(key string) (schema Schema, ok bool)
	// keys returns the fields of an object.
	keys() []string
}

// find returns the schema of the field that a path leads to.
func find(schema Schema, steps []step) (Schema, error) {
	at := ""
	for _, s := range steps {
		if schema == nil || schema.form() == anything {
			return nil, nil //nolint:nilnil // No schema means that every value fits.
		}
		key := s.key
		if s.all {
			key = "*"
		}
		next, ok := schema.below(key)
		switch {
		case ok:
		case s.all:
			return nil, fmt.Errorf("%s is %s, so it has no items", at, schema.form())
		case len(schema.keys()) > 0:
			return nil, fmt.Errorf("no field %s in %s; the fields there are %s", key, orWhole(at), strings.Join(schema.keys(), ", "))
		default:
			return nil, fmt.Errorf("%s is %s, so it has no field %s", orWhole(at), schema.form(), key)
		}
		schema, at = next, strings.TrimPrefix(at+"."+key, ".")
	}
	return schema, nil
}

func orWhole(at string) string {
	if at == "" {
		return "the object"
	}
	return at
}

// goSchema is the schema of a type of Kubernetes.
type goSchema struct{ t reflect.Type }

// OfType returns the schema of objects of a Go type.
func OfType(object any) Schema { return newGoSchema(reflect.TypeOf(object)) }

func newGoSchema(t reflect.Type) goSchema {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return goSchema{t}
}

func (g goSchema) form() form {
	switch g.t {
	case reflect.TypeFor[metav1.Time](), reflect.TypeFor[metav1.MicroTime](), reflect.TypeFor[metav1.Duration]():
		return text
	case reflect.TypeFor[resource.Quantity](), reflect.TypeFor[intstr.IntOrString](), reflect.TypeFor[runtime.RawExtension](), reflect.TypeFor[metav1.FieldsV1]():
		return anything
	}
	switch g.t.Kind() {
	case reflect.String:
		return text
	case reflect.Bool:
		return truth
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint32, reflect.Uint64:
		return whole
	case reflect.Float32, reflect.Float64:
		return number
	case reflect.Struct, reflect.Map:
		return object
	case reflect.Slice:
		if g.t.Elem().Kind() == reflect.Uint8 {
			return text
		}
		return list
	}
	return anything
}

func (g goSchema) below(key string) (Schema, bool) {
	switch {
	case g.form() == list && key == "*", g.t.Kind() == reflect.Map:
		return newGoSchema(g.t.Elem()), true
	case g.t.Kind() == reflect.Struct:
		field, ok := jsonFields(g.t)[key]
		if !ok {
			return nil, false
		}
		return newGoSchema(field), true
	}
	return nil, false
}

func (g goSchema) keys() []string {
	if g.t.Kind() != reflect.Struct {
		return nil
	}
	return slices.Sorted(maps.Keys(jsonFields(g.t)))
}

// jsonFields returns the fields of a struct by their key in JSON.
func jsonFields(t reflect.Type) map[string]reflect.Type {
	all := map[string]reflect.Type{}
	for field := range t.Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch {
		case name == "" && field.Anonymous && field.Type.Kind() == reflect.Struct:
			maps.Copy(all, jsonFields(field.Type))
		case name != "" && name != "-" && field.IsExported():
			all[name] = field.Type
		}
	}
	return all
}

// openAPI is the schema of a custom resource.
type openAPI struct {
	props *apiextensionsv1.JSONSchemaProps
}

// OfDefinition returns the schema of a version of a definition.
func OfDefinition(props *apiextensionsv1.JSONSchemaProps) Schema {
	if props == nil {
		return nil
	}
	return openAPI{props}
}

func (o openAPI) form() form {
	if o.props.XPreserveUnknownFields != nil && *o.props.XPreserveUnknownFields {
		return anything
	}
	switch o.props.Type {
	case "string":
		return text
	case "integer":
		return whole
	case "number":
		return number
	case "boolean":
		return truth
	case "array":
		return list
	case "object":
		return object
	}
	return anything
}

func (o openAPI) below(key string) (Schema, bool) {
	switch {
	case key == "*" && o.props.Items != nil && o.props.Items.Schema != nil:
		return openAPI{o.props.Items.Schema}, true
	case o.props.AdditionalProperties != nil && o.props.AdditionalProperties.Schema != nil:
		return openAPI{o.props.AdditionalProperties.Schema}, true
	}
	if key == "metadata" {
		return OfType(metav1.ObjectMeta{}), true
	}
	props, ok := o.props.Properties[key]
	if !ok {
		return nil, false
	}
	return openAPI{&props}, true
}

func (o openAPI) keys() []string { return slices.Sorted(maps.Keys(o.props.Properties)) }
