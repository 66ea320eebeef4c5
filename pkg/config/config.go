// Package config reads the configuration of a virtual cluster from a file. It decodes
// the YAML to a tree and compares the tree with the types of [v1alpha1.Config]. It
// lays the tree over the defaults, and checks combinations of settings last.
//
// It refuses unknown keys, values of the wrong type or format, and settings that
// exclude each other. It reports all problems at once, each with its path, its value
// and what to do. The chart refuses the same by a JSON schema and a template, both
// generated from the same types.
package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
)

// Error is all that is wrong with a configuration.
type Error struct {
	// Problems are sorted by path.
	Problems field.ErrorList
}

// Error lists every problem on a line of its own.
func (e *Error) Error() string {
	noun := "problems"
	if len(e.Problems) == 1 {
		noun = "problem"
	}
	lines := []string{fmt.Sprintf("%d %s in the configuration", len(e.Problems), noun)}
	for _, problem := range e.Problems {
		lines = append(lines, problem.Error())
	}
	return strings.Join(lines, "\n  ")
}

// Load reads a configuration from a file. kinds are those that it may set.
func Load(path string, kinds ...v1alpha1.Kind) (*v1alpha1.Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the configuration: %w", err)
	}
	config, err := Parse(data, kinds...)
	if err != nil {
		return nil, fmt.Errorf("cannot use the configuration %s: %w", path, err)
	}
	return config, nil
}

// Parse reads a configuration from YAML or JSON. kinds are those that it may set. Keys
// that are left out have their default. What is wrong with the settings comes as an
// [*Error].
func Parse(data []byte, kinds ...v1alpha1.Kind) (*v1alpha1.Config, error) {
	tree, err := decode(data)
	if err != nil {
		return nil, err
	}
	config := v1alpha1.Default(kinds...)
	checked := checker{kinds: kinds, defaults: config}
	checked.root(tree)
	problems := checked.problems
	for _, problem := range problems {
		removeValue(tree, keysOf(problem))
	}
	for _, keys := range checked.removed {
		removeValue(tree, keys)
		deleteEntry(reflect.ValueOf(config).Elem(), keys)
	}
	if err := overlay(tree, config); err != nil {
		if len(problems) == 0 {
			return nil, err
		}
		return nil, newError(problems)
	}
	problems = append(problems, checkCombinations(tree, config, problems)...)
	for _, p := range config.Sync.PatchProblems() {
		problems = append(problems, field.Invalid(field.NewPath(p.Path), p.Value, p.Detail))
	}
	if len(problems) > 0 {
		return nil, newError(problems)
	}
	return config, nil
}

// decode makes a tree of maps, lists, strings, bools and [json.Number] of YAML.
// An empty document is an empty map.
func decode(data []byte) (any, error) {
	asJSON, err := yaml.YAMLToJSONStrict(data)
	if err != nil {
		return nil, fmt.Errorf("the configuration is not YAML: %w", err)
	}
	decoder := json.NewDecoder(bytes.NewReader(asJSON))
	decoder.UseNumber()
	var tree any
	if err := decoder.Decode(&tree); err != nil {
		return nil, fmt.Errorf("the configuration is not YAML: %w", err)
	}
	if tree == nil {
		return map[string]any{}, nil
	}
	return tree, nil
}

// overlay decodes the tree over config.
func overlay(tree any, config *v1alpha1.Config) error {
	data, err := json.Marshal(tree)
	if err != nil {
		return fmt.Errorf("cannot encode the configuration: %w", err)
	}
	if err := yaml.UnmarshalStrict(data, config); err != nil {
		return fmt.Errorf("cannot decode the configuration: %w", err)
	}
	return nil
}

// checkCombinations checks the rules about several keys, except for those about keys
// that were refused already.
func checkCombinations(tree any, config *v1alpha1.Config, refused field.ErrorList) field.ErrorList {
	var problems field.ErrorList
	for _, combination := range v1alpha1.Combinations() {
		involved := append([]string{combination.Path}, combination.With...)
		if slices.ContainsFunc(involved, func(path string) bool { return isAbout(refused, path) }) || !combination.Violated(config) {
			continue
		}
		keys := strings.Split(combination.Path, ".")
		path := field.NewPath(keys[0], keys[1:]...)
		value := valueAt(tree, config, keys)
		if v1alpha1.HidesValue(combination.Path) {
			value = namesOf(value)
		}
		problems = append(problems, field.Invalid(path, value, combination.Detail))
	}
	return problems
}

// namesOf returns the names of the items of a list, for a message that must not repeat values.
func namesOf(value any) []string {
	names := []string{}
	items, _ := value.([]any)
	for _, item := range items {
		name, found := lookup(item, []string{"name"})
		if !found {
			name, _ = lookup(item, []string{"release", "name"})
		}
		text, _ := name.(string)
		names = append(names, text)
	}
	return names
}

// keysOf returns the keys of the path of a problem, up to the first list or map of
// the user's own.
func keysOf(problem *field.Error) []string {
	path, _, _ := strings.Cut(problem.Field, "[")
	return strings.Split(path, ".")
}

// isAbout reports whether a problem is about a path, or about something above or
// below it.
func isAbout(problems field.ErrorList, path string) bool {
	keys := strings.Split(path, ".")
	return slices.ContainsFunc(problems, func(problem *field.Error) bool {
		refused := keysOf(problem)
		common := min(len(refused), len(keys))
		return slices.Equal(refused[:common], keys[:common])
	})
}

// removeValue removes the value at the end of keys from a tree.
func removeValue(tree any, keys []string) {
	last := len(keys) - 1
	above, _ := lookup(tree, keys[:last])
	if node, isMap := above.(map[string]any); isMap {
		delete(node, keys[last])
	}
}

// deleteEntry deletes the entry of a map at the end of keys from the settings.
func deleteEntry(settings reflect.Value, keys []string) {
	if settings.Kind() == reflect.Map {
		settings.SetMapIndex(reflect.ValueOf(keys[0]).Convert(settings.Type().Key()), reflect.Value{})
		return
	}
	if below, found := fields(settings.Type())[keys[0]]; found {
		deleteEntry(settings.FieldByIndex(below.Index), keys[1:])
	}
}

// hasEntry reports whether the map at the end of keys has the last of them.
func hasEntry(settings reflect.Value, keys []string) bool {
	if settings.Kind() == reflect.Map {
		return settings.MapIndex(reflect.ValueOf(keys[0]).Convert(settings.Type().Key())).IsValid()
	}
	below, found := fields(settings.Type())[keys[0]]
	return found && hasEntry(settings.FieldByIndex(below.Index), keys[1:])
}

// valueAt returns the value that is set at a path, or the default.
func valueAt(tree any, config *v1alpha1.Config, keys []string) any {
	if value, found := lookup(tree, keys); found {
		return value
	}
	data, err := json.Marshal(config)
	if err != nil {
		return nil
	}
	var whole any
	if json.Unmarshal(data, &whole) != nil {
		return nil
	}
	value, _ := lookup(whole, keys)
	return value
}

// lookup follows keys into a tree.
func lookup(tree any, keys []string) (any, bool) {
	for _, key := range keys {
		node, isMap := tree.(map[string]any)
		if !isMap {
			return nil, false
		}
		value, found := node[key]
		if !found {
			return nil, false
		}
		tree = value
	}
	return tree, true
}

func newError(problems field.ErrorList) *Error {
	slices.SortFunc(problems, func(a, b *field.Error) int {
		return strings.Compare(a.Error(), b.Error())
	})
	return &Error{Problems: problems}
}
