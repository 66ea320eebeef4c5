package main

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
)

// referencePage is docs/reference/values.md.
func referencePage(settings []setting) []byte {
	var out bytes.Buffer
	fmt.Fprintf(&out, "<!-- %s -->\n\n# Values of the chart\n\n", generated)
	out.WriteString("What can be set in `values.yaml`, and read by the server from the same keys. A key that is not here is refused,\n" +
		"by Helm and by the server, as is a value of the wrong type or form: all problems at once, each with its path, its\n" +
		"value and the way out.\n")
	for _, section := range settings {
		fmt.Fprintf(&out, "\n## %s\n\n%s\n\n", section.key, sentence(section))
		out.WriteString("| Key | Type | Default | What it does |\n|---|---|---|---|\n")
		writeRows(&out, section.children)
	}
	return out.Bytes()
}

func writeRows(out *bytes.Buffer, settings []setting) {
	for _, s := range settings {
		path := strings.Join(s.path, ".")
		if s.isSection() {
			fmt.Fprintf(out, "| **`%s`** | | | %s |\n", path, cell(comment(s)))
			writeRows(out, s.children)
			continue
		}
		fmt.Fprintf(out, "| `%s` | %s | `%s` | %s |\n", path, typeName(s.kind), cell(s.yamlDefault()), cell(comment(s)))
	}
}

// sentence returns the comment of a section, with its key as code if it starts so.
func sentence(s setting) string {
	if rest, ok := strings.CutPrefix(s.doc, s.key+" "); ok {
		return "`" + s.key + "` " + rest
	}
	return s.doc
}

// cell keeps a text from breaking a table.
func cell(text string) string {
	return strings.ReplaceAll(text, "|", `\|`)
}

// typeName is how the page names a type.
func typeName(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[resource.Quantity]():
		return "quantity"
	case t.Kind() == reflect.Slice:
		return "list of " + typeName(t.Elem())
	case t.Kind() == reflect.Map:
		return "map of " + typeName(t.Elem())
	case t.Kind() == reflect.Struct:
		return fmt.Sprintf("[%s](https://kubernetes.io/docs/reference/kubernetes-api/)", t.Name())
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() == reflect.String:
		return "text"
	}
	return "whole number"
}
