// Package routes reduces the memory that the routes of an API server take.
package routes

import (
	"reflect"
	"unsafe"

	"github.com/emicklei/go-restful/v3"
)

// expressionField names the field in which go-restful keeps the compiled path of a route.
const expressionField = "pathExpr"

// ShareExpressions lets routes of a service with the same path share one regular expression. go-restful compiles
// one for each route: 5 MB in an API server, half of it for a path that another verb has too. Nothing changes an
// expression after that. The services must not answer requests yet. It returns how many expressions were dropped.
func ShareExpressions(services []*restful.WebService) int {
	field, ok := reflect.TypeFor[restful.Route]().FieldByName(expressionField)
	if !ok || field.Type.Kind() != reflect.Pointer {
		return 0 // An unknown version of go-restful keeps all.
	}
	dropped := 0
	for _, service := range services {
		byPath := map[string]unsafe.Pointer{}
		routes := service.Routes() // These are the service's own, not copies.
		for i := range routes {
			expression := (*unsafe.Pointer)(unsafe.Add(unsafe.Pointer(&routes[i]), field.Offset)) //nolint:gosec // No other access.
			shared, ok := byPath[routes[i].Path]
			switch {
			case !ok:
				byPath[routes[i].Path] = *expression
			case shared != *expression:
				*expression = shared
				dropped++
			}
		}
	}
	return dropped
}
