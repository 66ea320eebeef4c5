package custom

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structural "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

const (
	// maxReferences bounds how many references of an OpenAPI document are within each other.
	maxReferences = 20
	// maxSchemaSize bounds a schema with its references resolved, in bytes. A store refuses
	// objects of 1.5 MiB.
	maxSchemaSize = 1 << 20
	// fieldSize is about what a field takes, without its description.
	fieldSize = 80
)

// FromOpenAPI returns the structural schema of a kind, from the OpenAPI v3 document of its
// group version. Go types made the document, so that null means the zero value, and the zero
// value as a default means nothing. What is required of the status and, with relaxed, of the
// whole object is left out: the host has accepted it. It fails if the document does not have
// the kind, or if no structural schema follows.
func FromOpenAPI(document []byte, kind schema.GroupVersionKind, relaxed bool) (*apiextensionsv1.JSONSchemaProps, error) {
	var parsed struct {
		Components struct {
			Schemas map[string]json.RawMessage `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal(document, &parsed); err != nil {
		return nil, fmt.Errorf("cannot read the OpenAPI document: %w", err)
	}
	i := inliner{schemas: parsed.Components.Schemas, left: maxSchemaSize, relaxed: relaxed}
	name := i.findKind(kind)
	if name == "" {
		return nil, fmt.Errorf("the OpenAPI document has no schema of %s", kind.Kind)
	}
	root := &apiextensionsv1.JSONSchemaProps{Ref: new(referencePrefix + name)}
	if err := i.resolveObject(root); err != nil {
		return nil, err
	}
	return normalize(root)
}

// normalize returns a schema as an API server writes it, with values such as defaults in
// their normal form. It fails if the schema is not structural.
func normalize(schema *apiextensionsv1.JSONSchemaProps) (*apiextensionsv1.JSONSchemaProps, error) {
	var internal apiextensions.JSONSchemaProps
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(schema, &internal, nil); err != nil {
		return nil, fmt.Errorf("cannot convert its schema: %w", err)
	}
	s, err := structural.NewStructural(&internal)
	if err != nil {
		return nil, fmt.Errorf("its schema is not structural: %w", err)
	}
	if problems := structural.ValidateStructural(nil, s); len(problems) > 0 {
		return nil, fmt.Errorf("its schema is not structural: %w", problems[0])
	}
	normal := &apiextensionsv1.JSONSchemaProps{}
	if err := apiextensionsv1.Convert_apiextensions_JSONSchemaProps_To_v1_JSONSchemaProps(&internal, normal, nil); err != nil {
		return nil, fmt.Errorf("cannot convert its schema: %w", err)
	}
	return normal, nil
}

const referencePrefix = "#/components/schemas/"

// inliner replaces the references of an OpenAPI document by what they refer to.
type inliner struct {
	schemas map[string]json.RawMessage
	open    []string // references that are being resolved
	left    int      // bytes
	relaxed bool     // nothing is required
}

// findKind returns the name of the schema of a kind, empty if there is none.
func (i *inliner) findKind(kind schema.GroupVersionKind) string {
	for _, name := range slices.Sorted(maps.Keys(i.schemas)) {
		var marked struct {
			Kinds []schema.GroupVersionKind `json:"x-kubernetes-group-version-kind"`
		}
		if json.Unmarshal(i.schemas[name], &marked) == nil && slices.Contains(marked.Kinds, kind) {
			return name
		}
	}
	return ""
}

// resolveObject resolves the schema of a whole object. Its metadata is that of the API server.
func (i *inliner) resolveObject(root *apiextensionsv1.JSONSchemaProps) error {
	release, err := i.resolveRef(root)
	defer release()
	if err != nil {
		return err
	}
	if root.Type != "object" || len(root.Properties) == 0 {
		return errors.New("its schema is not that of an object with fields")
	}
	properties := map[string]apiextensionsv1.JSONSchemaProps{}
	for _, key := range slices.Sorted(maps.Keys(root.Properties)) {
		property := root.Properties[key]
		switch key {
		case "apiVersion", "kind":
			property = apiextensionsv1.JSONSchemaProps{Type: "string", Description: property.Description}
		case "metadata":
			property = apiextensionsv1.JSONSchemaProps{Type: "object"}
		default:
			all := i.relaxed
			i.relaxed = all || key == "status"
			if err := i.resolve(&property); err != nil {
				return fmt.Errorf("%s: %w", key, err)
			}
			i.relaxed = all
		}
		properties[key] = property
	}
	required := slices.DeleteFunc(root.Required, func(key string) bool { return i.relaxed || key == "status" })
	*root = apiextensionsv1.JSONSchemaProps{Type: "object", Description: root.Description, Properties: properties, Required: required}
	return nil
}

// resolve resolves a schema and all below it. One that is within itself, or too large, allows
// any value.
func (i *inliner) resolve(s *apiextensionsv1.JSONSchemaProps) error {
	i.left -= fieldSize + len(s.Description)
	release, err := i.resolveRef(s)
	defer release()
	if err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(s.Properties)) {
		property := s.Properties[key]
		if err := i.resolve(&property); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		s.Properties[key] = property
	}
	if s.Items != nil && s.Items.Schema != nil {
		if err := i.resolve(s.Items.Schema); err != nil {
			return err
		}
	}
	if s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil {
		if err := i.resolve(s.AdditionalProperties.Schema); err != nil {
			return err
		}
	}
	if i.relaxed {
		s.Required = nil
	}
	toStructural(s)
	return nil
}

// resolveRef replaces a schema that only refers to another one by that. release ends its time
// among those that are being resolved, and is never nil.
func (i *inliner) resolveRef(s *apiextensionsv1.JSONSchemaProps) (release func(), err error) {
	before := len(i.open)
	release = func() { i.open = i.open[:before] }
	for {
		if s.Ref == nil && s.Type == "" && len(s.Properties) == 0 && len(s.AllOf) == 1 {
			replace(s, s.AllOf[0]) // A reference with a description or a default.
			continue
		}
		if s.Ref == nil {
			return release, nil
		}
		name := strings.TrimPrefix(*s.Ref, referencePrefix)
		if slices.Contains(i.open, name) || len(i.open) == maxReferences || i.left < 0 {
			replace(s, apiextensionsv1.JSONSchemaProps{})
			return release, nil
		}
		var target apiextensionsv1.JSONSchemaProps
		raw, ok := i.schemas[name]
		if !ok {
			return release, fmt.Errorf("the OpenAPI document has no schema %s", name)
		}
		if err := json.Unmarshal(raw, &target); err != nil {
			return release, fmt.Errorf("cannot read the schema %s: %w", name, err)
		}
		i.open = append(i.open, name)
		i.left -= len(target.Description)
		replace(s, target)
	}
}

// replace replaces a reference by its target, and keeps what it has of its own.
func replace(s *apiextensionsv1.JSONSchemaProps, target apiextensionsv1.JSONSchemaProps) {
	if s.Description != "" {
		target.Description = s.Description
	}
	if s.Default != nil {
		target.Default = s.Default
	}
	target.Nullable = target.Nullable || s.Nullable
	*s = target
}

// toStructural gives a schema without references the form of definitions.
func toStructural(s *apiextensionsv1.JSONSchemaProps) {
	s.UniqueItems, s.XValidations = false, nil
	if s.Default != nil && slices.Contains([]string{"", "{}", "[]", `""`, "0", "false", "null"}, string(s.Default.Raw)) {
		s.Default = nil
	}
	if s.Format == "int-or-string" || hasTypes(s.OneOf) || hasTypes(s.AnyOf) {
		s.Type, s.Format, s.OneOf, s.AnyOf, s.XIntOrString = "", "", nil, nil, true
		return
	}
	fillType(s)
	// Such values have no zero value but null.
	s.Nullable = s.Nullable || !isScalar(s) || s.Format == "date-time"
	if s.XListType != nil && !isList(s) {
		s.XListType, s.XListMapKeys = nil, nil
	}
	if s.XListType != nil && *s.XListType != "atomic" {
		s.Items.Schema.Nullable = false
	}
}

// fillType completes a type, or lets a value be anything if the schema does not describe it.
func fillType(s *apiextensionsv1.JSONSchemaProps) {
	hasFields := len(s.Properties) > 0
	switch {
	case s.Type == "" && hasFields:
		s.Type = "object"
	case s.Type == "", s.Type == "object" && !hasFields && s.AdditionalProperties == nil:
		s.XPreserveUnknownFields = new(true)
	case s.Type == "array" && s.Items == nil:
		s.Items = &apiextensionsv1.JSONSchemaPropsOrArray{Schema: &apiextensionsv1.JSONSchemaProps{XPreserveUnknownFields: new(true)}}
	}
}

// isScalar reports whether a value is no object, no list and has a known type.
func isScalar(s *apiextensionsv1.JSONSchemaProps) bool {
	return slices.Contains([]string{"boolean", "integer", "number", "string"}, s.Type)
}

// hasTypes reports whether a value is a text or a number, by alternatives that have no more
// than a type. Quantities are of that form.
func hasTypes(alternatives []apiextensionsv1.JSONSchemaProps) bool {
	texts, numbers := 0, 0
	for _, s := range alternatives {
		switch s.Type {
		case "string":
			texts++
		case "integer", "number":
			numbers++
		}
	}
	return texts > 0 && numbers > 0 && texts+numbers == len(alternatives)
}

// isList reports whether a definition can have a list of the type that the schema asks for.
// The keys of a map must be in each of its items.
func isList(s *apiextensionsv1.JSONSchemaProps) bool {
	if s.Type != "array" || s.Items.Schema == nil {
		return false
	}
	items := s.Items.Schema
	switch *s.XListType {
	case "set":
		return isScalar(items)
	case "map":
		return items.Type == "object" && !slices.ContainsFunc(s.XListMapKeys, func(key string) bool {
			property, ok := items.Properties[key]
			return !ok || property.Nullable || property.Default == nil && !slices.Contains(items.Required, key)
		})
	}
	return true
}
