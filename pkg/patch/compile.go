package patch

import (
	"fmt"
	"slices"
	"strings"

	"github.com/google/cel-go/cel"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
)

// Options are what the patches of a kind are compiled from, in addition to the patches.
type Options struct {
	// Setting is the path of the settings of the kind, for messages.
	Setting string
	// Schema describes the objects of the kind. nil allows every path and every value.
	Schema Schema
	// Immutable specifies that the spec of a copy that exists changes only where the kind
	// changes it. It is for kinds whose spec the host does not let change.
	Immutable bool
	// Content specifies that the kind runs the patches of everything but metadata itself, by
	// [Set.Content].
	Content bool
}

// Set are the compiled patches of a kind. The zero value changes nothing.
type Set struct {
	immutable, content bool

	down, up []program // of expressions, and of reverse
}

// program is a compiled patch.
type program struct {
	setting string // such as sync.toHost.pods.patches[0]
	path    string
	steps   []step
	want    form
	value   cel.Program
	when    cel.Program // nil for always
}

// Problem is what is wrong with a patch.
type Problem = v1alpha1.PatchProblem

// Compile compiles the patches of a kind. It returns everything that is wrong with them.
func Compile(patches []v1alpha1.Patch, o Options) (*Set, []Problem) {
	set := &Set{immutable: o.Immutable, content: o.Content}
	var problems []Problem
	for i, p := range patches {
		c := compiler{setting: fmt.Sprintf("%s.patches[%d]", o.Setting, i), schema: o.Schema}
		compiled := c.patch(p)
		if len(c.problems) > 0 {
			problems = append(problems, c.problems...)
			continue
		}
		side := &set.down
		if p.Reverse != "" {
			side = &set.up
		}
		if i := slices.IndexFunc(*side, compiled.overlaps); i >= 0 {
			problems = append(problems, Problem{
				Path: c.setting + ".path", Value: p.Path, Detail: "changes what " + (*side)[i].setting + " changes too; write one patch for both",
			})
			continue
		}
		*side = append(*side, compiled)
	}
	return set, problems
}

// overlaps reports whether one patch changes the field of the other one, or a part of it.
func (p program) overlaps(other program) bool {
	for i := range min(len(p.steps), len(other.steps)) {
		a, b := p.steps[i], other.steps[i]
		if a.key != b.key && !a.all && !b.all {
			return false
		}
	}
	return true
}

// IsEmpty reports whether the set changes nothing.
func (s *Set) IsEmpty() bool { return s == nil || len(s.down)+len(s.up) == 0 }

// compiler compiles one patch.
type compiler struct {
	setting  string
	schema   Schema
	problems []Problem
}

func (c *compiler) addProblem(key, value, detail string) {
	c.problems = append(c.problems, Problem{Path: c.setting + "." + key, Value: value, Detail: detail})
}

// patch compiles a patch. It records what is wrong.
func (c *compiler) patch(p v1alpha1.Patch) program {
	compiled := program{setting: c.setting, path: p.Path, want: anything}
	steps, err := parsePath(p.Path)
	if err != nil {
		c.addProblem("path", p.Path, "is no path: "+err.Error())
		return compiled
	}
	compiled.steps = steps
	schema, err := find(c.schema, steps)
	if err != nil {
		c.addProblem("path", p.Path, err.Error())
		return compiled
	}
	if schema != nil {
		compiled.want = schema.form()
	}
	env, err := newEnvironment(compiled.want)
	if err != nil {
		c.addProblem("expression", p.Expression, err.Error())
		return compiled
	}
	key, expression := "expression", p.Expression
	if p.Reverse != "" {
		key, expression = "reverse", p.Reverse
	}
	compiled.value = c.expression(env, key, expression, compiled.want)
	if p.When != "" {
		compiled.when = c.expression(env, "when", p.When, truth)
	}
	return compiled
}

// maxLength is how long an expression may be, in bytes.
const maxLength = 8 << 10

// expression compiles an expression for a value of a form.
func (c *compiler) expression(env *cel.Env, key, source string, want form) cel.Program {
	if len(source) > maxLength {
		c.addProblem(key, source[:40]+"…", fmt.Sprintf("has %d bytes; the limit is %d", len(source), maxLength))
		return nil
	}
	checked, issues := env.Compile(source)
	if issues != nil && issues.Err() != nil {
		var texts []string
		for _, e := range issues.Errors() {
			message := e.Message
			if message == "reserved identifier: namespace" {
				message += "; write " + namespaceVariable
			}
			texts = append(texts, fmt.Sprintf("line %d, column %d: %s", e.Location.Line(), e.Location.Column()+1, message))
		}
		c.addProblem(key, source, strings.Join(texts, "; "))
		return nil
	}
	if !fits(checked.OutputType(), want) {
		c.addProblem(key, source, fmt.Sprintf("line 1, column 1: it gives %s, but the field is %s", checked.OutputType(), want))
		return nil
	}
	compiled, err := env.Program(checked, programOptions()...)
	if err != nil {
		c.addProblem(key, source, err.Error())
		return nil
	}
	return compiled
}

// fits reports whether a static type can be a value of a form.
func fits(t *cel.Type, want form) bool {
	switch t.Kind() {
	case cel.DynKind, cel.AnyKind, cel.NullTypeKind, cel.TypeParamKind:
		return want != truth || t.Kind() != cel.NullTypeKind
	}
	switch want {
	case text:
		return isOneOf(t, cel.StringType, cel.BytesType, cel.TimestampType, cel.DurationType)
	case whole:
		return isOneOf(t, cel.IntType, cel.UintType)
	case number:
		return isOneOf(t, cel.IntType, cel.UintType, cel.DoubleType)
	case truth:
		return isOneOf(t, cel.BoolType)
	case object:
		return t.Kind() == cel.MapKind
	case list:
		return t.Kind() == cel.ListKind
	}
	return true
}

// isOneOf reports whether a type, or what its nullable form has, is one of others.
func isOneOf(t *cel.Type, others ...*cel.Type) bool {
	for _, other := range others {
		if t.Kind() == other.Kind() {
			return true
		}
	}
	return false
}
