package admission

import (
	"reflect"
	"slices"
	"strconv"

	"k8s.io/apiserver/pkg/admission"

	"github.com/sublet-dev/sublet/pkg/policy"
)

const (
	// maxParts is how many parts a value in the expressions of an object may have. A mutating policy writes them as JSON,
	// also into objects that the control plane writes at each start.
	maxParts = 100_000
	// maxVariables is how many variables an admission policy may have. Each start compiles them.
	maxVariables = 2000
)

// checkExpressions denies an object with very many variables, or with expressions that take very much memory or time.
func checkExpressions(a admission.Attributes) []policy.Violation {
	if violations := checkVariables(a); len(violations) > 0 {
		return violations // The other checks parse each of them.
	}
	return append(checkRegexes(a), checkParts(a)...)
}

// checkVariables denies a policy with very many variables. An update may leave them as they are.
func checkVariables(a admission.Attributes) []policy.Violation {
	count := len(variablesOf(a.GetObject()))
	if count <= maxVariables || a.GetOldObject() != nil && count <= len(variablesOf(a.GetOldObject())) {
		return nil
	}
	return []policy.Violation{{
		Field: "spec.variables", Value: strconv.Itoa(count) + " variables",
		Detail: "the control plane compiles all of them at each start; use at most " + strconv.Itoa(maxVariables),
	}}
}

// checkParts denies an object with an expression whose value takes all memory, or whose comparison takes hours. An update
// may leave it as it is.
func checkParts(a admission.Attributes) []policy.Violation {
	parts := largestValue(a.GetObject())
	if parts <= maxParts || a.GetOldObject() != nil && parts <= largestValue(a.GetOldObject()) {
		return nil
	}
	return []policy.Violation{{
		Field: "spec", Value: "value of " + strconv.FormatFloat(parts, 'g', 3, 64) + " parts in an expression",
		Detail: "the control plane has them in memory; use fewer lists in lists, so that a value has at most " + strconv.Itoa(maxParts) + " parts",
	}}
}

// largestValue returns how many parts the largest value in the expressions of an object has.
func largestValue(object any) float64 {
	variables, most := countVariables(object)
	visitStrings("", reflect.ValueOf(object), func(field, text string) {
		if isExpression(field) {
			_, parts := policy.CountParts(text, variables, policy.UnknownItems)
			most = max(most, parts)
		}
	})
	return most
}

// isExpression reports whether a field of a policy or of a definition is a CEL expression.
func isExpression(field string) bool {
	return slices.Contains([]string{"Expression", "MessageExpression", "ValueExpression", "Rule"}, field)
}

// countVariables returns the parts of each variable of an admission policy, as variables.NAME, and those of the largest
// value in them. A variable may use those before it.
func countVariables(object any) (parts map[string]policy.Parts, most float64) {
	parts = map[string]policy.Parts{}
	for _, variable := range variablesOf(object) {
		value, largest := policy.CountParts(fieldOf(variable, "Expression").String(), parts, policy.UnknownItems)
		parts["variables."+fieldOf(variable, "Name").String()] = value
		most = max(most, largest)
	}
	return parts, most
}

// variablesOf returns the variables of an admission policy. Another object has none.
func variablesOf(object any) []reflect.Value {
	list := fieldOf(fieldOf(reflect.ValueOf(object), "Spec"), "Variables")
	if list.Kind() != reflect.Slice {
		return nil
	}
	variables := make([]reflect.Value, list.Len())
	for i := range variables {
		variables[i] = list.Index(i)
	}
	return variables
}

// fieldOf returns a field of a struct or of what points to one. The zero Value has none.
func fieldOf(value reflect.Value, name string) reflect.Value {
	for value.Kind() == reflect.Pointer || value.Kind() == reflect.Interface {
		value = value.Elem()
	}
	if value.Kind() != reflect.Struct {
		return reflect.Value{}
	}
	return value.FieldByName(name)
}
