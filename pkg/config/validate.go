package config

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
)

// checker compares a tree with Go types and collects what does not fit.
type checker struct {
	kinds    []v1alpha1.Kind
	defaults *v1alpha1.Config
	problems field.ErrorList
	// removed are the entries of maps that are null, which takes a default out of a map.
	removed [][]string
}

// root checks the whole tree.
func (c *checker) root(tree any) {
	if _, isMap := tree.(map[string]any); !isMap {
		c.addProblem(field.NewPath("(the whole file)"), tree, "must be a map of settings, such as {logging: {verbosity: 2}}")
		return
	}
	c.value(nil, tree, reflect.TypeFor[v1alpha1.Config](), v1alpha1.Rule{})
}

// value checks one value of the tree against the type that it is to become.
func (c *checker) value(path *field.Path, value any, want reflect.Type, rule v1alpha1.Rule) {
	if value == nil {
		if !acceptsNull(want) || c.isListWithDefault(path, want) {
			c.addProblem(path, value, "must not be null; leave the line out to get the default")
		}
		return
	}
	switch want {
	case reflect.TypeFor[resource.Quantity]():
		c.quantity(path, value)
	case reflect.TypeFor[intstr.IntOrString]():
		c.intOrString(path, value)
	case reflect.TypeFor[v1alpha1.Switch]():
		if _, isNumber := value.(json.Number); isNumber || !v1alpha1.IsSwitch(fmt.Sprint(value)) {
			c.addProblem(path, value, "must be "+v1alpha1.SwitchWant)
		}
	default:
		c.plain(path, value, want, rule)
	}
}

// plain checks a value whose form in YAML is that of its Go kind.
func (c *checker) plain(path *field.Path, value any, want reflect.Type, rule v1alpha1.Rule) {
	switch want.Kind() {
	case reflect.Pointer:
		c.value(path, value, want.Elem(), rule)
	case reflect.Struct:
		c.object(path, value, want)
	case reflect.Map:
		c.dictionary(path, value, want.Elem(), rule)
	case reflect.Slice:
		c.list(path, value, want.Elem(), rule)
	case reflect.Bool:
		if _, fits := value.(bool); !fits {
			c.addProblem(path, value, "must be true or false, without quotes")
		}
	case reflect.String:
		c.text(path, value, rule)
	default:
		c.number(path, value, want, rule)
	}
}

// object checks the keys of a map that become the fields of a struct.
func (c *checker) object(path *field.Path, value any, want reflect.Type) {
	node, isMap := value.(map[string]any)
	known := c.fieldsAt(path, want)
	if !isMap {
		c.addProblem(path, value, "must be "+v1alpha1.MapOf(slices.Sorted(maps.Keys(known))))
		return
	}
	for _, key := range slices.Sorted(maps.Keys(node)) {
		at := path.Child(key)
		if known, found := known[key]; found {
			c.value(at, node[key], known.Type, v1alpha1.RuleOf(known))
			continue
		}
		c.addProblem(at, node[key], unknownKey(key, slices.Sorted(maps.Keys(known))))
	}
}

// fieldsAt returns the fields of a struct at a path, with the settings of kinds there.
func (c *checker) fieldsAt(path *field.Path, structure reflect.Type) map[string]reflect.StructField {
	known := fields(structure)
	if structure == reflect.TypeFor[v1alpha1.KindSettings]() {
		known = map[string]reflect.StructField{} // A kind has only some of them.
	}
	if path == nil {
		return known
	}
	for _, kind := range c.kinds {
		above, name := cutLast(kind.Setting)
		switch _, ok := known[name]; {
		case path.String() == kind.Setting:
			for key, field := range fields(reflect.TypeFor[v1alpha1.KindSettings]()) {
				if kind.Has(key) {
					known[key] = field
				}
			}
		case path.String() == above && !ok:
			known[name] = reflect.StructField{Name: name, Type: reflect.TypeFor[v1alpha1.KindSettings]()}
		}
	}
	return known
}

// cutLast splits a path before its last key.
func cutLast(path string) (above, last string) {
	i := strings.LastIndexByte(path, '.')
	if i < 0 {
		return "", path
	}
	return path[:i], path[i+1:]
}

// dictionary checks a map whose keys the user chooses.
func (c *checker) dictionary(path *field.Path, value any, want reflect.Type, rule v1alpha1.Rule) {
	node, isMap := value.(map[string]any)
	if !isMap {
		c.addProblem(path, value, "must be a map, such as {example.com/key: value}")
		return
	}
	for _, key := range slices.Sorted(maps.Keys(node)) {
		if problem := rule.CheckKey(key); problem != "" {
			c.addProblem(path.Key(key), key, "the key "+problem)
			continue
		}
		entry := append(strings.Split(path.String(), "."), key)
		if node[key] == nil && hasEntry(reflect.ValueOf(c.defaults).Elem(), entry) {
			c.removed = append(c.removed, entry)
			continue
		}
		c.value(path.Key(key), node[key], want, rule.OfValues())
	}
}

func (c *checker) list(path *field.Path, value any, want reflect.Type, rule v1alpha1.Rule) {
	items, isList := value.([]any)
	if !isList {
		c.addProblem(path, value, "must be a list; put [ ] around it")
		return
	}
	for i, item := range items {
		if rule.Unique && slices.ContainsFunc(items[:i], func(other any) bool { return reflect.DeepEqual(item, other) }) {
			c.addProblem(path.Index(i), item, "is in the list twice; leave one out")
			continue
		}
		c.value(path.Index(i), item, want, rule)
	}
}

func (c *checker) text(path *field.Path, value any, rule v1alpha1.Rule) {
	text, fits := value.(string)
	if !fits {
		c.addProblem(path, value, "must be text; put quotes around it")
		return
	}
	if problem := rule.CheckString(text); problem != "" {
		c.addProblem(path, value, problem)
	}
}

func (c *checker) number(path *field.Path, value any, want reflect.Type, rule v1alpha1.Rule) {
	literal, isNumber := value.(json.Number)
	if !isNumber {
		c.addProblem(path, value, "must be a whole number, without quotes")
		return
	}
	number, err := strconv.ParseInt(literal.String(), 10, want.Bits())
	problem := rule.CheckNumber(number)
	if err != nil {
		problem = "must be a whole number, such as 3"
	}
	if problem != "" {
		c.addProblem(path, value, problem)
	}
}

// quantity checks an amount, which YAML may hold as text or as a number.
func (c *checker) quantity(path *field.Path, value any) {
	text, fits := value.(string)
	if number, isNumber := value.(json.Number); isNumber {
		text, fits = number.String(), true
	}
	format := v1alpha1.QuantityFormat()
	if !fits || format.Check(text) != "" {
		c.addProblem(path, value, "must be "+format.Want)
	}
}

func (c *checker) intOrString(path *field.Path, value any) {
	switch value.(type) {
	case string, json.Number:
	default:
		c.addProblem(path, value, "must be a number or text")
	}
}

// acceptsNull reports whether null is a valid value of a type: an empty one.
func acceptsNull(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Pointer, reflect.Map, reflect.Slice:
		return true
	case reflect.Struct:
		return t.PkgPath() != reflect.TypeFor[v1alpha1.Config]().PkgPath() && t != reflect.TypeFor[resource.Quantity]()
	}
	return false
}

// isListWithDefault reports whether a setting is a list that has items by default. Helm does not pass null on.
func (c *checker) isListWithDefault(path *field.Path, want reflect.Type) bool {
	if want.Kind() != reflect.Slice {
		return false
	}
	items, _ := valueAt(nil, c.defaults, strings.Split(path.String(), ".")).([]any)
	return len(items) > 0
}

// addProblem adds a problem. detail has what to do. It shows no map and no list, as a password may be in there.
func (c *checker) addProblem(path *field.Path, value any, detail string) {
	switch value.(type) {
	case map[string]any, []any:
		value = field.OmitValueType{}
	}
	if v1alpha1.HidesValue(path.String()) {
		value = field.OmitValueType{}
	}
	c.problems = append(c.problems, field.Invalid(path, value, detail))
}

// unknownKey returns the message for a key that does not exist.
func unknownKey(key string, known []string) string {
	if near := suggest(key, known); near != "" {
		return fmt.Sprintf("no such key; did you mean %s?", near)
	}
	return "no such key; leave it out; the keys here are " + v1alpha1.OneOf(known)
}

// fields returns the fields of a struct. Key in YAML -> field.
func fields(structure reflect.Type) map[string]reflect.StructField {
	known := map[string]reflect.StructField{}
	for _, found := range reflect.VisibleFields(structure) {
		name, _, _ := strings.Cut(found.Tag.Get("json"), ",")
		if name != "" && name != "-" && found.IsExported() {
			known[name] = found
		}
	}
	return known
}
