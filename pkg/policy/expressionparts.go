package policy

import (
	"github.com/google/cel-go/common"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/parser"
)

// UnknownItems is how many items a list is assumed to have that is known only at run time.
const UnknownItems = 64

// Parts is how many parts a value has.
type Parts struct {
	// Total counts the value, its items, theirs, and so on.
	Total float64
	// Item is the Total of its largest item, 0 if no item is known.
	Item float64
}

// one returns the parts of a value without items.
func one() Parts { return Parts{Total: 1} }

// CountParts returns the parts of the value of an expression, and how many the largest value in it has. A list may have the
// same list twice, and that one another, so that few characters make billions of parts. CEL compares and encodes all of
// them, without counting that.
//
// variables maps variables.NAME to its parts, and is only read. pieces is how many items a text has that is split at run
// time. What does not parse has no parts, as the API server denies it.
func CountParts(text string, variables map[string]Parts, pieces float64) (value Parts, largest float64) {
	p, err := parser.NewParser(parser.EnableOptionalSyntax(true), parser.EnableIdentEscapeSyntax(true))
	if err != nil {
		return Parts{}, 0
	}
	parsed, problems := p.Parse(common.NewTextSource(text))
	if len(problems.GetErrors()) > 0 {
		return Parts{}, 0
	}
	c := partCounter{pieces: pieces, variables: variables, local: map[string]Parts{}}
	value = c.count(parsed.Expr())
	return value, c.largest
}

// partCounter counts the parts of the values of an expression. It copies no map, as a policy has many expressions and
// many variables.
type partCounter struct {
	pieces, largest float64
	variables       map[string]Parts // variables.NAME -> its parts, of the caller
	local           map[string]Parts // variable of a macro around the current expression -> its parts
}

// find returns the parts of a variable.
func (c *partCounter) find(name string) (parts Parts, ok bool) {
	if parts, ok = c.local[name]; !ok {
		parts, ok = c.variables[name]
	}
	return parts, ok
}

// define sets the parts of a variable of a macro. restore ends its scope.
func (c *partCounter) define(name string, parts Parts) (restore func()) {
	outer, ok := c.local[name]
	c.local[name] = parts
	return func() {
		if ok {
			c.local[name] = outer
		} else {
			delete(c.local, name)
		}
	}
}

// count returns the parts of the value of an expression.
func (c *partCounter) count(e ast.Expr) Parts {
	parts := one()
	switch e.Kind() {
	case ast.IdentKind:
		if variable, ok := c.find(e.AsIdent()); ok {
			parts = variable
		}
	case ast.SelectKind:
		parts = c.countSelect(e.AsSelect())
	case ast.ListKind:
		parts = c.join(e.AsList().Elements()...)
	case ast.MapKind:
		var all []ast.Expr
		for _, entry := range e.AsMap().Entries() {
			all = append(all, entry.AsMapEntry().Key(), entry.AsMapEntry().Value())
		}
		parts = c.join(all...)
	case ast.StructKind:
		var all []ast.Expr
		for _, field := range e.AsStruct().Fields() {
			all = append(all, field.AsStructField().Value())
		}
		parts = c.join(all...)
	case ast.CallKind:
		parts = c.countCall(e.AsCall())
	case ast.ComprehensionKind, ast.LiteralKind, ast.UnspecifiedExprKind: // Without macros, there are no comprehensions.
	}
	c.largest = max(c.largest, parts.Total)
	return parts
}

// join returns the parts of a value that has several others.
func (c *partCounter) join(all ...ast.Expr) Parts {
	parts := one()
	for _, e := range all {
		item := c.count(e).Total
		parts = Parts{Total: parts.Total + item, Item: max(parts.Item, item)}
	}
	return parts
}

// countSelect counts the parts of a field. It may be the largest one of its object.
func (c *partCounter) countSelect(field ast.SelectExpr) Parts {
	if operand := field.Operand(); operand.Kind() == ast.IdentKind {
		if parts, ok := c.find(operand.AsIdent() + "." + field.FieldName()); ok {
			return parts
		}
	}
	return c.count(field.Operand())
}

// countCall counts the parts of the result of a function, an operator or a macro.
func (c *partCounter) countCall(call ast.CallExpr) Parts {
	name, args := call.FunctionName(), call.Args()
	if call.IsMemberFunction() && len(args) > 1 && args[0].Kind() == ast.IdentKind {
		switch name {
		case "bind":
			return c.countBind(args)
		case "map", "filter", "all", "exists", "exists_one", "existsOne", "transformList", "transformMap", "transformMapEntry", "optMap", "optFlatMap":
			return c.countMacro(call)
		}
	}
	if call.IsMemberFunction() {
		args = append([]ast.Expr{call.Target()}, args...)
	}
	var parts Parts
	for _, arg := range args {
		each := c.count(arg)
		parts = Parts{Total: parts.Total + each.Total, Item: max(parts.Item, each.Item)}
	}
	switch name {
	case "_&&_", "_||_", "!_", "_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_", "@in", "size", "matches":
		return one() // a boolean or a number
	case "split", "findAll", "range":
		return Parts{Total: c.piecesOf(call), Item: 1}
	}
	return parts
}

// countBind counts the parts of cel.bind(NAME, VALUE, BODY).
func (c *partCounter) countBind(args []ast.Expr) Parts {
	defer c.define(args[0].AsIdent(), c.count(args[1]))()
	body := one()
	for _, arg := range args[2:] {
		body = c.count(arg)
	}
	return body
}

// countMacro counts the parts of the result of a macro over the items of a value.
func (c *partCounter) countMacro(call ast.CallExpr) Parts {
	args := call.Args()
	source := c.count(call.Target())
	item := Parts{Total: max(source.Item, 1), Item: source.Item}
	if name := call.FunctionName(); name == "optMap" || name == "optFlatMap" {
		item = source
	}
	defer c.define(args[0].AsIdent(), item)()
	body := 1.0
	for _, arg := range args[1:] {
		if arg.Kind() == ast.IdentKind {
			if _, ok := c.find(arg.AsIdent()); !ok {
				defer c.define(arg.AsIdent(), item)() // The second variable of the macro.
			}
		}
		body = max(body, c.count(arg).Total)
	}
	switch call.FunctionName() {
	case "map", "transformList", "transformMap", "transformMapEntry":
		return Parts{Total: max(source.Total, UnknownItems) * body, Item: body}
	case "filter":
		return source
	case "optMap", "optFlatMap":
		return Parts{Total: body, Item: body}
	}
	return one()
}

// piecesOf returns how many items a function makes of a text, or of a number.
func (c *partCounter) piecesOf(call ast.CallExpr) float64 {
	var source ast.Expr
	switch {
	case call.IsMemberFunction() && call.FunctionName() != "range":
		source = call.Target()
	case len(call.Args()) > 0:
		source = call.Args()[0]
	}
	if source != nil && source.Kind() == ast.LiteralKind {
		switch literal := source.AsLiteral().Value().(type) {
		case string:
			return float64(len(literal))
		case int64:
			return float64(literal)
		}
	}
	return c.pieces
}
