package admission

import (
	"reflect"
	"regexp/syntax"
	"slices"

	"github.com/google/cel-go/common"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/parser"
)

const (
	// instructionBytes is the size of an instruction of a compiled regular expression.
	instructionBytes = 40
	// runeBytes is the size of each end of a range of characters.
	runeBytes = 4
)

// regexCost returns how many bytes the compiled regular expressions of an object take: those in patterns of schemas,
// and those that are constants in expressions. "(?:aa){1000}" takes two thousand instructions, and some kilobytes
// of text take 130 MiB.
func regexCost(object any) int64 {
	var cost int64
	var patterns []string
	visitStrings("", reflect.ValueOf(object), func(field, text string) {
		switch {
		case field == "Pattern":
			patterns = append(patterns, text)
		case isExpression(field):
			cost += expressionCost(text)
		}
	})
	slices.Sort(patterns)
	for _, pattern := range slices.Compact(patterns) { // Upstream compiles equal ones once.
		cost += patternCost(pattern)
	}
	return cost
}

// visitStrings calls visit for each string in a value, with the name of the field that has it.
func visitStrings(field string, value reflect.Value, visit func(field, text string)) {
	switch value.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !value.IsNil() {
			visitStrings(field, value.Elem(), visit)
		}
	case reflect.Slice:
		for i := range value.Len() {
			visitStrings(field, value.Index(i), visit)
		}
	case reflect.Map:
		for entries := value.MapRange(); entries.Next(); {
			visitStrings(field, entries.Value(), visit)
		}
	case reflect.Struct:
		for i := range value.NumField() {
			if f := value.Type().Field(i); f.IsExported() {
				visitStrings(f.Name, value.Field(i), visit)
			}
		}
	case reflect.String:
		visit(field, value.String())
	default:
	}
}

// expressionCost returns how many bytes the constant regular expressions of an expression take. Without macros, the
// parser accepts all that upstream's accepts.
func expressionCost(text string) int64 {
	p, err := parser.NewParser(parser.EnableOptionalSyntax(true), parser.EnableIdentEscapeSyntax(true))
	if err != nil {
		return 0
	}
	parsed, problems := p.Parse(common.NewTextSource(text))
	if len(problems.GetErrors()) > 0 {
		return 0 // The API server denies it.
	}
	var cost int64
	ast.PostOrderVisit(parsed.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() != ast.CallKind || !slices.Contains([]string{"matches", "find", "findAll"}, e.AsCall().FunctionName()) {
			return
		}
		for _, argument := range e.AsCall().Args() {
			if argument.Kind() != ast.LiteralKind {
				continue
			}
			if pattern, ok := argument.AsLiteral().Value().(string); ok {
				cost += patternCost(pattern)
			}
		}
	}))
	return cost
}

// patternCost returns how many bytes a compiled regular expression takes, 0 for an invalid one. It does not
// compile it.
func patternCost(pattern string) int64 {
	parsed, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return 0
	}
	return programCost(parsed)
}

// programCost returns how many bytes the program of a part of a regular expression takes. It counts as upstream's
// parser does, which denies what takes more than 128 MiB.
func programCost(part *syntax.Regexp) int64 {
	cost := int64(2 * instructionBytes)
	switch part.Op {
	case syntax.OpLiteral:
		return cost + instructionBytes*int64(len(part.Rune))
	case syntax.OpCharClass:
		return cost + runeBytes*int64(len(part.Rune))
	case syntax.OpRepeat:
		return cost + int64(max(part.Min, part.Max, 1))*programCost(part.Sub[0])
	default:
		for _, sub := range part.Sub {
			cost += programCost(sub)
		}
		return cost
	}
}
