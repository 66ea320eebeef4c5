package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
)

// object is a JSON schema, or a part of one. encoding/json sorts its keys.
type object = map[string]any

// Helm prints the messages of its library, which a JSON schema cannot choose. The library
// quotes a value only together with the pattern that it does not match. Of an unknown key
// it prints only the key. With "propertyNames" it would print more, but a wrong path. So:
//
//   - A pattern has a second branch that begins with "$^". It matches nothing, and its
//     text is what to write instead.
//   - A setting that is not text has such a pattern alone, for text in its place. Its type
//     is behind a $ref: the library stops at a wrong "type" or "enum" next to a pattern.
//   - The value of an unknown key must be nothing. The "enum" next to that is a message
//     with the keys that exist.
const schemaComment = "In a pattern, what follows $^ matches nothing. The enum next to $defs/nothing allows nothing. " +
	"Helm shows both in its messages: what to write instead."

// schemaJSON returns chart/values.schema.json.
func schemaJSON(settings []setting) ([]byte, error) {
	defs := definitions{}
	properties := object{
		"global": object{"type": "object", "description": "Helm sets it if this chart is part of another. Nothing here reads it."},
	}
	for _, s := range settings {
		properties[s.key] = defs.setting(s)
	}
	root := object{"properties": properties, "additionalProperties": unknown(properties)}
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["$comment"] = generated + " " + schemaComment
	root["title"] = "Values of the chart sublet"
	root["type"] = "object"
	for name, base := range map[string]string{"truth": "boolean", "number": "integer", "map": "object", "list": "array"} {
		defs[name] = object{"type": base}
	}
	defs["nothing"] = false
	root["$defs"] = defs
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(root); err != nil {
		return nil, fmt.Errorf("cannot encode the schema: %w", err)
	}
	return out.Bytes(), nil
}

// definitions are the schemas that others refer to.
type definitions object

// setting returns the schema of one setting.
func (d definitions) setting(s setting) object {
	var schema object
	if s.isSection() {
		properties := object{}
		for _, child := range s.children {
			properties[child.key] = d.setting(child)
		}
		schema = section(properties)
	} else {
		schema = d.value(s.kind, s.rule)
		schema["default"] = s.fallback
	}
	schema["description"] = comment(s)
	return schema
}

// value returns the schema of a value that becomes a Go type.
func (d definitions) value(t reflect.Type, rule v1alpha1.Rule) object {
	switch t {
	case reflect.TypeFor[resource.Quantity]():
		return object{"type": []any{"string", "number"}, "pattern": pattern(v1alpha1.QuantityFormat()), "minimum": 0}
	case reflect.TypeFor[intstr.IntOrString]():
		return object{"type": []any{"string", "integer"}}
	case reflect.TypeFor[v1alpha1.Switch]():
		d["switch"] = object{"enum": []any{true, false, "auto", "true", "false"}}
		return object{"$ref": "#/$defs/switch", "pattern": "^(auto|true|false)$|" + never(v1alpha1.SwitchWant)}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return d.value(t.Elem(), rule)
	case reflect.Struct:
		return d.referToKubernetes(t)
	case reflect.Map:
		return d.mapping(t, rule)
	case reflect.Slice:
		schema := typed("list", "a list; put [ ] around it")
		schema["items"] = d.value(t.Elem(), rule)
		if rule.Unique {
			schema["uniqueItems"] = true
		}
		return schema
	case reflect.Bool:
		return typed("truth", "true or false, without quotes")
	case reflect.String:
		return d.text(rule)
	}
	return number(rule)
}

// mapping returns the schema of a map, with the rules of its keys.
func (d definitions) mapping(t reflect.Type, rule v1alpha1.Rule) object {
	schema := typed("map", "a map, such as {example.com/key: value}")
	if rule.Keys == nil {
		schema["additionalProperties"] = d.value(t.Elem(), rule.OfValues())
		return schema
	}
	refused := nothing("left out: its key must be " + rule.Keys.Want)
	keys := object{rule.Keys.Pattern: d.value(t.Elem(), rule.OfValues())}
	if rule.Keys.MaxLength > 0 {
		keys[fmt.Sprintf("^.{%d}", rule.Keys.MaxLength+1)] = refused
	}
	if rule.Keys.MaxPart > 0 {
		keys[fmt.Sprintf("(^|/)[^/]{%d}", rule.Keys.MaxPart+1)] = refused
	}
	schema["patternProperties"], schema["additionalProperties"] = keys, refused
	return schema
}

// text returns the schema of a string.
func (d definitions) text(rule v1alpha1.Rule) object {
	switch {
	case len(rule.Enum) > 0:
		name := strings.Join(rule.Enum, "-")
		d[name] = object{"enum": rule.Enum}
		return object{"$ref": "#/$defs/" + name, "pattern": "^(" + strings.Join(rule.Enum, "|") + ")$"}
	case rule.Format == nil:
		return object{"type": "string"}
	}
	schema := object{"type": "string", "pattern": pattern(*rule.Format)}
	if rule.Optional {
		schema["pattern"] = "^$|" + pattern(*rule.Format)
	}
	if rule.Format.MaxLength > 0 {
		schema["maxLength"] = rule.Format.MaxLength
	}
	if most := rule.Format.MaxPart; most > 0 {
		short := fmt.Sprintf("^[^/]{0,%d}(/[^/]{0,%d})*$|%s", most, most, never(rule.Format.Want))
		schema["allOf"] = []any{object{"pattern": short}}
	}
	return schema
}

// number returns the schema of a whole number.
func number(rule v1alpha1.Rule) object {
	schema := typed("number", "a whole number, without quotes")
	schema["multipleOf"] = 1 // for its message, which shows the number
	if rule.Min != nil {
		schema["minimum"] = *rule.Min
	}
	if rule.Max != nil {
		schema["maximum"] = *rule.Max
	}
	return schema
}

// referToKubernetes returns a reference to the schema of a struct of Kubernetes.
func (d definitions) referToKubernetes(t reflect.Type) object {
	if _, known := d[t.Name()]; !known {
		d[t.Name()] = nil // ends the recursion of types that contain themselves
		docs := swaggerDoc(t)
		properties := object{}
		for _, field := range reflect.VisibleFields(t) {
			key, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			if key == "" || key == "-" {
				continue
			}
			schema := d.value(field.Type, v1alpha1.RuleOf(field))
			if doc := docs[key]; doc != "" && schema["$ref"] == nil {
				schema["description"] = doc
			}
			properties[key] = schema
		}
		d[t.Name()] = section(properties)
	}
	return object{"$ref": "#/$defs/" + t.Name()}
}

// section returns the schema of a map with these keys and no other.
func section(properties object) object {
	schema := typed("map", v1alpha1.MapOf(slices.Sorted(maps.Keys(properties))))
	schema["properties"] = properties
	schema["additionalProperties"] = unknown(properties)
	return schema
}

// unknown returns the schema of a key that is not among these properties.
func unknown(properties object) object {
	return nothing("left out: there is no such key; the keys here are " + v1alpha1.OneOf(slices.Sorted(maps.Keys(properties))))
}

// nothing returns a schema that refuses everything with a message.
func nothing(message string) object {
	return object{"enum": []string{message}, "$ref": "#/$defs/nothing"}
}

// typed returns the schema of a value of a type other than text.
func typed(name, want string) object {
	return object{"$ref": "#/$defs/" + name, "pattern": never(want)}
}

// pattern returns the pattern of a format with its explanation.
func pattern(f v1alpha1.Format) string {
	return f.Pattern + "|" + never(f.Want)
}

// never returns a regular expression that matches nothing and reads like a text.
func never(text string) string {
	return "$^" + strings.NewReplacer(
		"{", `\{`, "}", `\}`, "[", `\[`, "]", `\]`, "(", `\(`, ")", `\)`, "*", `\*`, "+", `\+`, "?", `\?`, "|", `\|`,
	).Replace(text)
}

// swaggerDoc returns the comments of the fields of a type of Kubernetes.
func swaggerDoc(t reflect.Type) map[string]string {
	documented, ok := reflect.TypeAssert[interface{ SwaggerDoc() map[string]string }](reflect.New(t))
	if !ok {
		return nil
	}
	return documented.SwaggerDoc()
}
