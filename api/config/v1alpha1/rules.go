package v1alpha1

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Rule specifies which values of one field are valid. It has the content of the
// field's tags; see the comment of the package.
type Rule struct {
	// Enum are the strings that are allowed. Empty allows every string.
	Enum []string
	// Format is the form of a string. nil allows every string.
	Format *Format
	// Keys and Values are the forms of the keys and values of a map. nil allows
	// every string.
	Keys, Values *Format
	// Optional allows the empty string in addition to Format, OptionalValues in
	// addition to Values.
	Optional, OptionalValues bool
	// Min and Max bound a number, both included. nil is no bound.
	Min, Max *int64
	// Unique forbids equal items of a list.
	Unique bool
}

// RuleOf reads the tags of a field. It panics at a tag that means nothing, which
// is a mistake in this package.
func RuleOf(field reflect.StructField) Rule {
	rule := Rule{
		Min:    parseBound(field, "min"),
		Max:    parseBound(field, "max"),
		Unique: field.Tag.Get("unique") == "true",
	}
	if enum := field.Tag.Get("enum"); enum != "" {
		rule.Enum = strings.Split(enum, ",")
	}
	rule.Format, rule.Optional = format(field, "format")
	rule.Keys, _ = format(field, "keys")
	rule.Values, rule.OptionalValues = format(field, "values")
	return rule
}

// CheckString returns what is wrong with a string, as the end of a sentence that
// begins with the value: "must be …". It returns an empty string for a valid value.
func (r Rule) CheckString(value string) string {
	if len(r.Enum) > 0 && !slices.Contains(r.Enum, value) {
		return "must be " + OneOf(r.Enum)
	}
	if r.Format == nil || r.Optional && value == "" {
		return ""
	}
	return r.Format.Check(value)
}

// CheckNumber returns what is wrong with a number, like CheckString.
func (r Rule) CheckNumber(value int64) string {
	if r.Min != nil && value < *r.Min || r.Max != nil && value > *r.Max {
		return fmt.Sprintf("must be a whole number from %d to %d", *r.Min, *r.Max)
	}
	return ""
}

// CheckKey returns what is wrong with a key of a map, like CheckString.
func (r Rule) CheckKey(key string) string {
	if r.Keys == nil {
		return ""
	}
	return r.Keys.Check(key)
}

// OfValues returns the rule for the values of a map.
func (r Rule) OfValues() Rule {
	return Rule{Format: r.Values, Optional: r.OptionalValues}
}

// OneOf returns a list of allowed values, as the end of a message.
func OneOf(values []string) string {
	switch len(values) {
	case 0:
		return "left out"
	case 1:
		return values[0]
	}
	last := len(values) - 1
	return strings.Join(values[:last], ", ") + " or " + values[last]
}

// MapOf returns the end of a message that asks for a map with the given keys.
func MapOf(keys []string) string {
	if len(keys) == 1 {
		return "a map; its only key is " + keys[0]
	}
	return "a map; its keys are " + OneOf(keys)
}

// parseBound reads a number from a tag.
func parseBound(field reflect.StructField, tag string) *int64 {
	text, found := field.Tag.Lookup(tag)
	if !found {
		return nil
	}
	number, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		panic(fmt.Sprintf("field %s: tag %s is not a number: %v", field.Name, tag, err))
	}
	return &number
}

// format reads the name of a format from a tag, and whether it is optional.
func format(field reflect.StructField, tag string) (*Format, bool) {
	text, found := field.Tag.Lookup(tag)
	if !found {
		return nil, false
	}
	name, option, _ := strings.Cut(text, ",")
	for _, known := range Formats() {
		if known.Name == name {
			return &known, option == "optional"
		}
	}
	panic(fmt.Sprintf("field %s: tag %s names the unknown format %q", field.Name, tag, name))
}
