package patch

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/google/cel-go/cel"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sublet-dev/sublet/pkg/translate"
)

// Change is a copy that patches may change.
type Change struct {
	// Cluster is the identity of the virtual cluster.
	Cluster translate.Cluster
	// Virtual is the key of the virtual object.
	Virtual types.NamespacedName
	// Original is what the copy was built from. It is not changed.
	Original map[string]any
	// Copy is changed.
	Copy map[string]any
	// CopyKey is the key of the copy.
	CopyKey types.NamespacedName
	// Before is the copy as it is in its cluster, nil if it is new or if nobody else changes
	// copies there.
	Before map[string]any
	// Record is what an earlier call has returned for the copy, empty for none.
	Record string

	other map[string]any // the variable other
	// sameOrder is true if the lists of Copy have the items of Original, in their order.
	sameOrder bool
	// hostName and renamed are those of inOriginal.
	hostName func(name string) string
	renamed  map[string]any

	inOriginal, inBefore *matcher // find places of Copy
}

// identity returns the variable other of expressions: what identifies the copy. The rest of a copy
// is what patches and the host write, so that a value computed from it would change with each
// reconcile.
func (c Change) identity() map[string]any {
	return map[string]any{"metadata": map[string]any{"name": c.CopyKey.Name, "namespace": c.CopyKey.Namespace}}
}

// besidesStatus returns the variable other of reverse expressions: the tenant's object without
// the status, which these patches write.
func (c Change) besidesStatus() map[string]any {
	other := maps.Clone(c.Copy)
	delete(other, "status")
	return other
}

// record maps places -> digests of what was last written there, or [created].
type record map[string]string

// created marks a map that a patch has created. What else the host has added to it stays.
const created = "created"

// Down changes a copy by the expressions. It returns what to record on the copy, empty for
// nothing. What others have changed since a value was written stays until the value changes.
// A label or annotation that is no longer patched goes.
func (s *Set) Down(c Change) (string, error) {
	c.other = c.identity()
	if s.immutable {
		// Other kinds keep an item under a name that a patch has given it, and add it once more under its own.
		c.hostName = func(name string) string {
			return translate.Hashed(c.Cluster, types.NamespacedName{Namespace: c.Virtual.Namespace, Name: name}).Name
		}
	}
	patches := s.down
	if s.content {
		patches = slices.DeleteFunc(slices.Clone(patches), program.isContent)
	}
	before := decodeRecord(c.Record)
	written, err := s.run(patches, c, before)
	if err != nil {
		return "", err
	}
	removeUnpatched(c, before, written)
	if len(written) == 0 {
		return "", nil
	}
	data, err := json.Marshal(written)
	if err != nil {
		return "", fmt.Errorf("cannot encode what was patched: %w", err)
	}
	return string(data), nil
}

// Content changes the content of a copy by the expressions, for a kind with
// [Options.Content]. Copy has no metadata. It has the lists of Original, in which names of references may differ.
func (s *Set) Content(c Change) error {
	c.other, c.sameOrder = c.identity(), true
	patches := slices.DeleteFunc(slices.Clone(s.down), func(p program) bool { return !p.isContent() })
	return s.runPlain(patches, c)
}

// Up changes a virtual object by the reverse expressions.
func (s *Set) Up(c Change) error {
	c.other, c.renamed = c.besidesStatus(), c.Copy // The status has virtual names.
	return s.runPlain(s.up, c)
}

// runPlain runs patches of a copy that nobody else changes.
func (s *Set) runPlain(patches []program, c Change) error {
	c.Before, c.Record = nil, ""
	_, err := s.run(patches, c, record{})
	return err
}

// isContent reports whether a patch changes more than labels and annotations.
func (p program) isContent() bool { return p.steps[0].key != "metadata" }

// decodeRecord returns what is recorded on a copy. What cannot be read is written once more.
func decodeRecord(text string) record {
	before := record{}
	if text == "" || json.Unmarshal([]byte(text), &before) != nil {
		return record{}
	}
	return before
}

// removeUnpatched removes labels and annotations that were patched and no longer are.
func removeUnpatched(c Change, before, written record) {
	for _, field := range []string{"labels", "annotations"} {
		for name := range before {
			key, ok := strings.CutPrefix(name, ".metadata."+field+".")
			if _, patched := written[name]; !ok || patched {
				continue
			}
			keys := []any{"metadata", field, key}
			now, _ := read(c.Before, keys)
			if copied, found := read(c.Copy, keys); found && reflect.DeepEqual(now, copied) {
				write(c.Copy, keys, nil, nil)
			}
		}
	}
}

// run runs patches one after the other.
func (s *Set) run(patches []program, c Change, before record) (record, error) {
	written := record{}
	c.inOriginal, c.inBefore = newMatcher(c.Original), newMatcher(c.Before)
	c.inOriginal.sameOrder, c.inOriginal.hostName, c.inOriginal.renamed = c.sameOrder, c.hostName, c.renamed
	for _, p := range patches {
		for _, at := range places(c.Copy, p.steps) {
			if err := s.runAt(p, at, c, before, written); err != nil {
				return nil, fmt.Errorf("%s: %w", p.setting, err)
			}
		}
	}
	return written, nil
}

// runAt runs a patch for one value.
func (s *Set) runAt(p program, at location, c Change, before, written record) error {
	keys, ok := c.inOriginal.find(at)
	if !ok {
		return nil // An item that the host has added.
	}
	original, _ := read(c.Original, keys)
	variables := variablesOf(c, original)
	if wanted, err := p.isWanted(variables); err != nil || !wanted {
		return err
	}
	result, err := p.evaluate(variables)
	if err != nil {
		return err
	}
	mark := digest(result)
	now, found := s.currentValue(at, c)
	switch {
	case found && before[at.name()] == mark:
		result = now // What others have made of it since.
	case found && s.mustStay(p, at, c, now):
		if before[at.name()] != "" {
			written[at.name()] = before[at.name()]
		}
		return nil
	}
	keepCreated(at, c, before, written)
	write(c.Copy, at.keys, runtime.DeepCopyJSONValue(result), func(depth int) map[string]any {
		return s.newMap(at, depth, c, before, written)
	})
	written[at.name()] = mark
	return nil
}

// mustStay reports whether a value that exists cannot change on the host: the kind has not
// changed it either.
func (s *Set) mustStay(p program, at location, c Change, now any) bool {
	copied, _ := read(c.Copy, at.keys)
	return s.immutable && strings.HasPrefix(p.path, "spec") && reflect.DeepEqual(now, copied)
}

// newMap returns the map for what is missing above a value. If an earlier patch has created
// it, what the host has added to it stays.
func (s *Set) newMap(at location, depth int, c Change, before, written record) map[string]any {
	above := at.names[depth]
	written[above] = created
	if existing, ok := s.currentValue(location{names: at.names[:depth+1], keys: at.keys[:depth+1]}, c); ok && before[above] == created {
		if existing, ok := existing.(map[string]any); ok {
			return runtime.DeepCopyJSON(existing)
		}
	}
	return map[string]any{}
}

// keepCreated keeps the marks of maps that a patch has created and that the kind has left.
func keepCreated(at location, c Change, before, written record) {
	for i, name := range at.names[:len(at.names)-1] {
		if before[name] != created {
			continue
		}
		now, _ := read(c.Before, at.keys[:i+1])
		if copied, ok := read(c.Copy, at.keys[:i+1]); ok && reflect.DeepEqual(now, copied) {
			written[name] = created
		}
	}
}

// currentValue returns the value that a place has in the cluster. ok is false for a copy, or
// an item of one, that is new.
func (s *Set) currentValue(at location, c Change) (value any, ok bool) {
	if c.Before == nil {
		return nil, false
	}
	keys, ok := c.inBefore.find(at)
	if !ok {
		return nil, false
	}
	value, _ = read(c.Before, keys)
	return value, true
}

// variablesOf returns the variables of expressions.
func variablesOf(c Change, value any) map[string]any {
	return map[string]any{
		"value": value, "object": c.Original, "other": c.other,
		namespaceVariable: c.Virtual.Namespace, "name": c.Virtual.Name,
		"cluster": map[string]string{"name": c.Cluster.Name, "namespace": c.Cluster.Namespace, "uid": c.Cluster.UID},
	}
}

// isWanted reports whether the condition of a patch holds.
func (p program) isWanted(variables map[string]any) (bool, error) {
	if p.when == nil {
		return true, nil
	}
	result, err := evaluate(p.when, variables)
	if err != nil {
		return false, fmt.Errorf("when: %w", err)
	}
	wanted, ok := result.(bool)
	if !ok {
		return false, fmt.Errorf("when: it gives %v, not true or false", result)
	}
	return wanted, nil
}

// evaluate returns the value of a patch. It fails if the field cannot have it.
func (p program) evaluate(variables map[string]any) (any, error) {
	result, err := evaluate(p.value, variables)
	if err != nil {
		return nil, err
	}
	if result == nil && len(p.steps) > 0 && p.steps[len(p.steps)-1].all {
		return nil, errors.New("it gives null, but an item cannot be removed; patch the whole list")
	}
	if have := formOf(result); result != nil && p.want != anything && have != p.want && (have != whole || p.want != number) {
		return nil, fmt.Errorf("it gives %s, but %s is %s", have, p.path, p.want)
	}
	return result, nil
}

func evaluate(program cel.Program, variables map[string]any) (any, error) {
	value, _, err := program.Eval(variables)
	if err != nil {
		return nil, fmt.Errorf("cannot evaluate it: %w", err)
	}
	return toJSON(value)
}

// formOf returns the form of a value.
func formOf(value any) form {
	switch value.(type) {
	case string:
		return text
	case int64:
		return whole
	case float64:
		return number
	case bool:
		return truth
	case map[string]any:
		return object
	case []any:
		return list
	}
	return anything
}

// digest returns what identifies a value.
func digest(value any) string {
	data, err := json.Marshal(value)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8])
}

// HasDown reports whether the set changes copies by expressions.
func (s *Set) HasDown() bool { return s != nil && len(s.down) > 0 }

// HasUp reports whether the set changes what comes back from the host.
func (s *Set) HasUp() bool { return s != nil && len(s.up) > 0 }
