package main

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
)

// pageHead is the first part of docs/reference/values.md.
const pageHead = `<!-- %s -->

# Set values of the chart

These keys can be set in the values of the chart. The server reads the same keys. Helm and the server refuse unknown
keys and wrong values. They report all problems at once, each with its path, its value and what to do.
`

// referencePage returns docs/reference/values.md.
func referencePage(settings []setting) []byte {
	var out bytes.Buffer
	fmt.Fprintf(&out, pageHead, generated)
	for _, section := range settings {
		writeSection(&out, section)
	}
	return out.Bytes()
}

// writeSection writes a section, its keys as a list, and the sections below it.
func writeSection(out *bytes.Buffer, section setting) {
	path := strings.Join(section.path, ".")
	if len(section.path) == 1 {
		fmt.Fprintf(out, "\n## %s\n\n%s\n\n", section.key, section.doc)
	} else {
		fmt.Fprintf(out, "\n### `%s`\n\n%s\n\n", path, section.doc)
	}
	for _, s := range section.children {
		if !s.isSection() {
			fmt.Fprintf(out, "- `%s.%s`: %s, default `%s`. %s\n", path, s.key, typeName(s.kind), s.yamlDefault(), comment(s))
		}
	}
	for _, s := range section.children {
		if s.isSection() {
			writeSection(out, s)
		}
	}
}

// cell escapes a text for a table.
func cell(text string) string {
	return strings.ReplaceAll(text, "|", `\|`)
}

// typeName returns how the page names a type.
func typeName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Slice:
		return "list of " + typeName(t.Elem())
	case reflect.Map:
		return "map of " + typeName(t.Elem())
	case reflect.Bool:
		return "true or false"
	case reflect.Struct:
		return structName(t)
	case reflect.String:
		if t == reflect.TypeFor[v1alpha1.Switch]() {
			return v1alpha1.SwitchWant
		}
		return "text"
	}
	return "whole number"
}

// structName returns how the page names a type with fields.
func structName(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[resource.Quantity]():
		return "quantity"
	case t == reflect.TypeFor[v1alpha1.DNSRule]():
		return "{hostname, service, target}"
	case t.PkgPath() == reflect.TypeFor[v1alpha1.Config]().PkgPath() && t.NumField() == 2 && t.Field(0).Name == "From":
		return "{from, to}"
	}
	return fmt.Sprintf("[%s](https://kubernetes.io/docs/reference/kubernetes-api/)", t.Name())
}
