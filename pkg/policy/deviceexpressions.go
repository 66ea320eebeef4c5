package policy

import (
	resourcev1 "k8s.io/api/resource/v1"

	"github.com/google/cel-go/common"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/parser"

	"github.com/sublet-dev/sublet/pkg/translate"
)

// checkExpressions returns the CEL expressions of selectors for which the host's scheduler could need hours or
// hundreds of megabytes. Its limits of cost count a regular expression or a quantity by the length of its text.
// What a text takes is known only if it is a constant.
func checkExpressions(path string, selectors []resourcev1.DeviceSelector) []Violation {
	var violations []Violation
	for i, selector := range selectors {
		if selector.CEL == nil {
			continue
		}
		if detail := costOfExpression(selector.CEL.Expression); detail != "" {
			violations = append(violations, Violation{
				Field: at(path+".selectors", i) + ".cel.expression", Value: selector.CEL.Expression, Detail: detail,
			})
		}
	}
	return violations
}

// maxParts is how many parts a value in an expression of a claim may have. The host's scheduler may compare them for each
// device of each node.
const maxParts = 10_000

// costOfExpression returns what is wrong with an expression, empty if nothing is. Without macros, the parser accepts
// all that the API server accepts, which denies the others.
func costOfExpression(text string) string {
	p, err := parser.NewParser(parser.EnableOptionalSyntax(true), parser.EnableIdentEscapeSyntax(true))
	if err != nil {
		return "cannot be parsed: " + err.Error()
	}
	parsed, problems := p.Parse(common.NewTextSource(text))
	if len(problems.GetErrors()) > 0 {
		return ""
	}
	if _, parts := CountParts(text, nil, maxParts); parts > maxParts {
		return "a value in it has billions of parts or many lists in lists, which the host's scheduler may compare for hours; use fewer"
	}
	detail := ""
	ast.PostOrderVisit(parsed.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() == ast.CallKind && detail == "" {
			detail = costOfCall(e.AsCall())
		}
	}))
	return detail
}

// costOfCall returns what is wrong with a call of a function, empty if nothing is.
func costOfCall(call ast.CallExpr) string {
	arguments, isQuantity := call.Args(), false
	switch call.FunctionName() {
	case "matches", "find", "findAll":
		if !call.IsMemberFunction() && len(arguments) > 1 {
			arguments = arguments[1:] // The first one is the text.
		}
	case "quantity", "isQuantity":
		isQuantity = true
	default:
		return ""
	}
	if len(arguments) == 0 {
		return ""
	}
	constant, ok := constantOf(arguments[0])
	switch {
	case !ok:
		return "the host's scheduler cannot bound what it takes; give " + call.FunctionName() + " a constant text"
	case isQuantity && translate.HasHugeExponent(constant):
		return "the host's scheduler would compute for hours; use an exponent of at most three digits"
	}
	return ""
}

// constantOf returns the text of an argument that is a constant.
func constantOf(argument ast.Expr) (text string, ok bool) {
	if argument.Kind() != ast.LiteralKind {
		return "", false
	}
	text, ok = argument.AsLiteral().Value().(string)
	return text, ok
}
