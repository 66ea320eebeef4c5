package patch

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// step is one part of a path: a key, or all items of a list or map.
type step struct {
	key string
	all bool // [*]
}

// parsePath returns the steps of a path such as spec.rules[*].host or metadata.labels["a/b"].
func parsePath(text string) ([]step, error) {
	var steps []step
	rest := text
	for rest != "" {
		switch {
		case strings.HasPrefix(rest, "[*]"):
			steps, rest = append(steps, step{all: true}), rest[len("[*]"):]
		case strings.HasPrefix(rest, `["`):
			key, after, ok := strings.Cut(rest[2:], `"]`)
			if !ok || key == "" {
				return nil, fmt.Errorf("%q has no end", rest)
			}
			steps, rest = append(steps, step{key: key}), after
		default:
			rest = strings.TrimPrefix(rest, ".")
			end := strings.IndexAny(rest, ".[")
			if end < 0 {
				end = len(rest)
			}
			if end == 0 {
				return nil, errors.New("a key is empty")
			}
			steps, rest = append(steps, step{key: rest[:end]}), rest[end:]
		}
	}
	if len(steps) == 0 || steps[0].all {
		return nil, errors.New("it must begin with a key")
	}
	return steps, nil
}

// location is one value that a path leads to.
type location struct {
	// names identify the place in the copy and what is above it, also when items of a list
	// change their order.
	names []string
	// keys lead to the value: text for maps, numbers for lists.
	keys []any
}

// name identifies the place.
func (p location) name() string { return p.names[len(p.names)-1] }

// places returns where a path leads to in a tree. Keys that do not exist lead somewhere too,
// but [*] leads to what exists alone.
func places(tree map[string]any, steps []step) []location {
	return placesBelow(tree, steps, location{})
}

func placesBelow(value any, steps []step, at location) []location {
	if len(steps) == 0 {
		return []location{at}
	}
	if !steps[0].all {
		below, _ := value.(map[string]any)
		if _, isList := value.([]any); isList {
			return nil
		}
		return placesBelow(below[steps[0].key], steps[1:], at.child("."+steps[0].key, steps[0].key))
	}
	var all []location
	switch value := value.(type) {
	case []any:
		names := itemNames(value)
		for i, item := range value {
			all = append(all, placesBelow(item, steps[1:], at.child("["+names[i]+"]", i))...)
		}
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(value)) {
			all = append(all, placesBelow(value[key], steps[1:], at.child("["+shorten(key)+"]", key))...)
		}
	}
	return all
}

func (p location) child(name string, key any) location {
	if len(p.names) > 0 {
		name = p.name() + name
	}
	return location{names: append(slices.Clip(p.names), name), keys: append(slices.Clip(p.keys), key)}
}

// itemNames returns what identifies each item of a list. Lists such as volume mounts may have several items of a
// name. From the second on, these are counted.
func itemNames(list []any) []string {
	names, count := make([]string, len(list)), map[string]int{}
	for i, item := range list {
		name := itemName(item, i)
		names[i] = name
		if count[name]++; count[name] > 1 {
			names[i] = fmt.Sprintf("%d:%s", count[name], name)
		}
	}
	return names
}

// itemName returns the name or type of an item of a list, or its index if it has none.
func itemName(item any, index int) string {
	for _, key := range []string{"name", "type"} {
		if text := textOf(item, key); text != "" {
			return key + "=" + shorten(text)
		}
	}
	return strconv.Itoa(index)
}

// textOf returns a text of an object, empty if it has none.
func textOf(object any, key string) string {
	fields, _ := object.(map[string]any)
	text, _ := fields[key].(string)
	return text
}

// maxName is the length of the longest name of an object of Kubernetes.
const maxName = 253

// shorten returns a name, or its digest if no object could have it. Each place below an item repeats its name.
func shorten(name string) string {
	if len(name) <= maxName {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// read returns the value at a place. ok is false if it does not exist.
func read(tree any, keys []any) (value any, ok bool) {
	for _, key := range keys {
		switch key := key.(type) {
		case string:
			object, _ := tree.(map[string]any)
			if tree, ok = object[key]; !ok {
				return nil, false
			}
		case int:
			list, _ := tree.([]any)
			if key >= len(list) {
				return nil, false
			}
			tree = list[key]
		}
	}
	return tree, true
}

// write sets a value. newMap returns the maps that are missing above it, by their depth. nil
// removes the value.
func write(tree map[string]any, keys []any, value any, newMap func(depth int) map[string]any) {
	var at any = tree
	for i, key := range keys[:len(keys)-1] {
		next, ok := read(at, keys[i:i+1])
		if _, isMap := next.(map[string]any); !ok || next == nil || !isMap && isText(keys[i+1]) {
			if value == nil {
				return
			}
			next = newMap(i)
			setOne(at, key, next)
		}
		at = next
	}
	setOne(at, keys[len(keys)-1], value)
}

func isText(key any) bool {
	_, ok := key.(string)
	return ok
}

// setOne sets one value of a map or a list.
func setOne(at, key, value any) {
	switch key := key.(type) {
	case string:
		object, ok := at.(map[string]any)
		switch {
		case !ok:
		case value == nil:
			delete(object, key)
		default:
			object[key] = value
		}
	case int:
		if list, ok := at.([]any); ok && value != nil {
			list[key] = value
		}
	}
}
