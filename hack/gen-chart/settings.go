package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/syncer/kinds"
)

// setting is one key of values.yaml.
type setting struct {
	key  string   // as in YAML
	path []string // all keys from the root, with key
	doc  string   // comment without its line of the default
	kind reflect.Type
	rule v1alpha1.Rule

	fallback any       // the default, as a JSON tree; leaves only
	children []setting // the keys below; sections only
}

// isSection reports whether the setting has keys of our own below it.
func (s setting) isSection() bool {
	return len(s.children) > 0
}

// yamlDefault returns the default in one line of YAML.
func (s setting) yamlDefault() string {
	return flow(s.fallback)
}

// comments are the comments of the fields of all structs of a package, by
// "Type.Field".
type comments map[string]string

// load reads the settings from the types, their comments and their defaults, and from
// the table of kinds.
func load(dir string) ([]setting, error) {
	docs, err := readComments(dir)
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(v1alpha1.Default(kinds.Settings()...))
	if err != nil {
		return nil, fmt.Errorf("cannot encode the defaults: %w", err)
	}
	defaults := map[string]any{}
	if err := json.Unmarshal(data, &defaults); err != nil {
		return nil, fmt.Errorf("cannot decode the defaults: %w", err)
	}
	return docs.settings(reflect.TypeFor[v1alpha1.Config](), nil, defaults)
}

// settings returns the fields of a struct, as settings below a path.
func (d comments) settings(structure reflect.Type, above []string, defaults map[string]any) ([]setting, error) {
	var all []setting
	for field := range structure.Fields() {
		key, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if key == "-" {
			continue
		}
		s := setting{
			key:  key,
			path: append(append([]string{}, above...), key),
			kind: field.Type,
			rule: v1alpha1.RuleOf(field),
		}
		where := strings.Join(s.path, ".")
		value, found := defaults[key]
		if !found {
			return nil, fmt.Errorf("%s: omitted from the encoded defaults", where)
		}
		doc := d[structure.Name()+"."+field.Name]
		if doc == "" {
			return nil, fmt.Errorf("%s: it has no comment", where)
		}
		var err error
		if isOurs(field.Type) {
			s.doc = doc
			below, isMap := value.(map[string]any)
			if !isMap {
				return nil, fmt.Errorf("%s: its default is no map", where)
			}
			if s.children, err = d.settings(field.Type, s.path, below); err == nil {
				s.children, err = d.withKinds(s.children, s.path)
			}
		} else {
			s.fallback = value
			s.doc, err = splitDefault(s, doc)
		}
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// isOurs reports whether a type is a struct of the configuration, not of Kubernetes.
func isOurs(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && t.PkgPath() == reflect.TypeFor[v1alpha1.Config]().PkgPath()
}

// splitDefault cuts the line of the default off a comment and compares it with
// the default. A field whose default differs from place to place names each
// place: "startupProbe 300, readinessProbe 3".
func splitDefault(s setting, doc string) (string, error) {
	text, stated, found := strings.Cut(doc, "\nDefault: ")
	if !found {
		return "", fmt.Errorf("%s: the last line of its comment must be \"Default: %s\"", strings.Join(s.path, "."), s.yamlDefault())
	}
	places := strings.Split(stated, ", ")
	parent := ""
	if len(s.path) > 1 {
		parent = s.path[len(s.path)-2] + " "
	}
	if stated == s.yamlDefault() {
		return text, nil
	}
	for _, place := range places {
		if place == parent+s.yamlDefault() {
			return text, nil
		}
	}
	return "", fmt.Errorf("%s: its comment has \"Default: %s\", but it is %s", strings.Join(s.path, "."), stated, s.yamlDefault())
}

// flow returns a value in one line of YAML.
func flow(value any) string {
	switch value := value.(type) {
	case map[string]any:
		var pairs []string
		for _, key := range slices.Sorted(maps.Keys(value)) {
			pairs = append(pairs, key+": "+flow(value[key]))
		}
		return "{" + strings.Join(pairs, ", ") + "}"
	case []any:
		var items []string
		for _, item := range value {
			items = append(items, flow(item))
		}
		return "[" + strings.Join(items, ", ") + "]"
	case nil:
		return "null"
	}
	data, err := yaml.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	text := string(bytes.TrimSpace(data))
	if strings.HasPrefix(text, ":") {
		return strconv.Quote(text) // In a list, this would begin a map.
	}
	return text
}

// readComments parses the comments of all struct fields of a package.
func readComments(dir string) (comments, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot read the types: %w", err)
	}
	docs := comments{}
	for _, entry := range entries {
		if !strings.HasSuffix(entry.Name(), ".go") || strings.HasSuffix(entry.Name(), "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, entry.Name()), nil, parser.ParseComments)
		if err != nil {
			return nil, fmt.Errorf("cannot parse the types: %w", err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			if spec, isType := n.(*ast.TypeSpec); isType {
				docs.addStruct(spec)
			}
			return true
		})
	}
	return docs, nil
}

func (d comments) addStruct(spec *ast.TypeSpec) {
	structure, isStruct := spec.Type.(*ast.StructType)
	if !isStruct {
		return
	}
	for _, field := range structure.Fields.List {
		for _, name := range field.Names {
			d[spec.Name.Name+"."+name.Name] = unwrap(field.Doc.Text())
		}
	}
}

// unwrap joins the lines of a comment, apart from the line of the default.
func unwrap(comment string) string {
	lines := strings.Split(strings.TrimSpace(comment), "\n")
	last := len(lines) - 1
	if last > 0 && strings.HasPrefix(lines[last], "Default: ") {
		return strings.Join(lines[:last], " ") + "\n" + lines[last]
	}
	return strings.Join(lines, " ")
}
