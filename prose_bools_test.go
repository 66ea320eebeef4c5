package sublet

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// bareBools maps a file and a function -> why a call of that function there has a bare true or false.
var bareBools = map[string]string{
	"pkg/dns/pods.go OnAdd":          "the interface is that of an informer",
	"pkg/egress/objects.go OnAdd":    "the interface is that of an informer",
	"pkg/syncer/engine.go setPaused": "Pause and Resume are the two functions, and this is all that they do",
}

// TestBareBools fails for a call of our own functions with a bare true or false. A reader cannot see what
// it means: two functions, an options struct or a named constant can.
func TestBareBools(t *testing.T) {
	t.Parallel()
	parsed, err := parseModule()
	if err != nil {
		t.Fatal(err)
	}
	private, exported := map[string]boolParameters{}, boolParameters{}
	for name, file := range parsed {
		dir := path.Dir(name)
		if private[dir] == nil {
			private[dir] = boolParameters{}
		}
		private[dir].addFile(file, exported)
	}
	met := map[string]bool{}
	for name, file := range parsed {
		for _, called := range bareBoolCalls(file, private[path.Dir(name)], exported) {
			use := name + " " + called
			if met[use] = true; bareBools[use] == "" {
				t.Errorf("%s: a call has a bare true or false: make two functions, an options struct or a named constant", use)
			}
		}
	}
	for use := range bareBools {
		if !met[use] {
			t.Errorf("%s is gone: remove it from bareBools", use)
		}
	}
}

// TestBareBoolRule checks what TestBareBools finds.
func TestBareBoolRule(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		reason string
		source string
		want   []string
	}{
		{"a function", "func f(on bool) {}\nfunc g() { f(true) }", []string{"f"}},
		{"a second parameter", "func f(n int, on bool) {}\nfunc g() { f(1, false) }", []string{"f"}},
		{"two in one field", "func f(n int, a, b bool) {}\nfunc g(a bool) { f(1, a, false) }", []string{"f"}},
		{"a method", "type t struct{}\nfunc (t) f(on bool) {}\nfunc g(x t) { x.f(true) }", []string{"f"}},
		{"a field that is a function", "type t struct{ f func(bool) }\nfunc g(x t) { x.f(true) }", []string{"f"}},
		{"a function in a variable", "func g() { f := func(on bool) {}; f(true) }", []string{"f"}},
		{"a variable", "func f(on bool) {}\nfunc g(on bool) { f(on) }", nil},
		{"a parameter of another type", "func f(on any) {}\nfunc g() { f(true) }", nil},
		{"a function of another module", "func g() { ptr.To(true) }", nil},
	} {
		file, err := parser.ParseFile(token.NewFileSet(), "a.go", "package a\n\n"+c.source, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		private, exported := boolParameters{}, boolParameters{}
		private.addFile(file, exported)
		if got := bareBoolCalls(file, private, exported); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %q, want %q", c.reason, got, c.want)
		}
	}
}

// parseModule returns the Go files of the module without tests and generated files. Path -> file.
func parseModule() (map[string]*ast.File, error) {
	parsed := map[string]*ast.File{}
	err := filepath.WalkDir(".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && isSkipped(name):
			return fs.SkipDir
		case entry.IsDir() || path.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution|parser.ParseComments)
		if err != nil {
			return fmt.Errorf("cannot parse %s: %w", name, err)
		}
		if !ast.IsGenerated(file) {
			parsed[filepath.ToSlash(name)] = file
		}
		return nil
	})
	return parsed, err
}

// boolParameters maps a function, method, or field or variable with a function -> the positions of its bool parameters.
type boolParameters map[string][]int

// addFile adds the functions of a file. Exported ones are added to exported too.
func (b boolParameters) addFile(file *ast.File, exported boolParameters) {
	add := func(name string, function *ast.FuncType) {
		for _, position := range boolPositions(function) {
			b[name] = append(b[name], position)
			if ast.IsExported(name) {
				exported[name] = append(exported[name], position)
			}
		}
	}
	ast.Inspect(file, func(node ast.Node) bool {
		switch node := node.(type) {
		case *ast.FuncDecl:
			add(node.Name.Name, node.Type)
		case *ast.Field:
			if function, ok := node.Type.(*ast.FuncType); ok {
				for _, name := range node.Names {
					add(name.Name, function)
				}
			}
		case *ast.AssignStmt:
			for i := range min(len(node.Lhs), len(node.Rhs)) {
				name, named := node.Lhs[i].(*ast.Ident)
				if function, ok := node.Rhs[i].(*ast.FuncLit); ok && named {
					add(name.Name, function.Type)
				}
			}
		}
		return true
	})
}

// boolPositions returns the positions of the parameters that are bool.
func boolPositions(function *ast.FuncType) (positions []int) {
	at := 0
	for _, field := range function.Params.List {
		count := max(1, len(field.Names))
		if kind, ok := field.Type.(*ast.Ident); ok && kind.Name == "bool" {
			for i := range count {
				positions = append(positions, at+i)
			}
		}
		at += count
	}
	return positions
}

// bareBoolCalls returns the functions that a file calls with true or false for one of their bool parameters.
func bareBoolCalls(file *ast.File, private, exported boolParameters) (called []string) {
	ast.Inspect(file, func(node ast.Node) bool {
		call, ok := node.(*ast.CallExpr)
		if !ok {
			return true
		}
		var name string
		positions := private
		switch function := call.Fun.(type) {
		case *ast.Ident:
			name = function.Name
		case *ast.SelectorExpr:
			name = function.Sel.Name
			if ast.IsExported(name) {
				positions = exported
			}
		}
		for i, argument := range call.Args {
			value, ok := argument.(*ast.Ident)
			if ok && (value.Name == "true" || value.Name == "false") && slices.Contains(positions[name], i) {
				called = append(called, name)
				break
			}
		}
		return true
	})
	return called
}
