package kinds

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestKindIsOneFile shows that a kind is one file and one row of the table: whoever takes both away has
// code that compiles. So nothing else mentions what the file of a kind declares.
func TestKindIsOneFile(t *testing.T) {
	t.Parallel()
	files := parseFolder(t)
	rows := rowsOf(files["table.go"])
	if len(rows) != len(Table()) {
		t.Fatalf("found %d rows in table.go, want %d", len(rows), len(Table()))
	}
	met := map[string]bool{}
	for _, functions := range rows {
		own, declared := filesOf(files, functions)
		for name, file := range files {
			if name == "table.go" || slices.Contains(own, name) {
				continue
			}
			for _, used := range usedIn(file) {
				switch {
				case !declared[used]:
				case foreignUses()[name+" "+used] != "":
					met[name+" "+used] = true
				default:
					t.Errorf("%s uses %s of %s, which belongs to a row of the table", name, used, own)
				}
			}
		}
	}
	for use := range foreignUses() {
		if !met[use] {
			t.Errorf("%s is gone: remove it from foreignUses", use)
		}
	}
}

// foreignUses maps a file and a name of a row that it uses -> why it may.
func foreignUses() map[string]string {
	return map[string]string{
		"customreferred.go ConfigMaps": "the kind of ConfigMaps of custom resources is that of the row with other names, in one file for all custom resources",
		"customreferred.go Secrets":    "the same for Secrets",
	}
}

// filesOf returns the files of a row, and all that they declare: those with its functions, and the further
// files of these.
func filesOf(files map[string]*ast.File, functions []string) (own []string, declared map[string]bool) {
	declared = map[string]bool{}
	for name, file := range files {
		names := declaredIn(file)
		if slices.ContainsFunc(functions, func(function string) bool { return names[function] }) {
			own = append(own, name)
		}
	}
	for further, first := range furtherFiles() {
		if slices.Contains(own, first) && !slices.Contains(own, further) {
			own = append(own, further)
		}
	}
	for _, name := range own {
		maps.Copy(declared, declaredIn(files[name]))
	}
	return own, declared
}

// parseFolder returns the files of this package without its tests, by their names.
func parseFolder(t *testing.T) map[string]*ast.File {
	t.Helper()
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]*ast.File{}
	for _, entry := range entries {
		if filepath.Ext(entry.Name()) != ".go" || strings.HasSuffix(entry.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), entry.Name(), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files[entry.Name()] = file
	}
	return files
}

// rowsOf returns the functions of each row: exported ones of this package in a call chain that begins with row.
func rowsOf(table *ast.File) (rows [][]string) {
	ast.Inspect(table, func(n ast.Node) bool {
		list, isList := n.(*ast.CompositeLit)
		if !isList {
			return true
		}
		for _, element := range list.Elts {
			if functions := functionsOf(element); len(functions) > 0 {
				rows = append(rows, functions)
			}
		}
		return false
	})
	return rows
}

// functionsOf returns the names of functions that a row has as arguments.
func functionsOf(row ast.Expr) (names []string) {
	ast.Inspect(row, func(n ast.Node) bool {
		call, isCall := n.(*ast.CallExpr)
		if !isCall {
			return true
		}
		for _, argument := range call.Args {
			if name, isName := argument.(*ast.Ident); isName && name.Name != "On" && name.Name != "Off" && name.Name != "Always" && name.IsExported() {
				names = append(names, name.Name)
			}
		}
		return true
	})
	return names
}

// declaredIn returns the names of functions, types, variables and constants that a file declares.
func declaredIn(file *ast.File) map[string]bool {
	names := map[string]bool{}
	for _, declaration := range file.Decls {
		switch d := declaration.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil {
				names[d.Name.Name] = true
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch s := spec.(type) {
				case *ast.TypeSpec:
					names[s.Name.Name] = true
				case *ast.ValueSpec:
					for _, name := range s.Names {
						names[name.Name] = true
					}
				}
			}
		}
	}
	return names
}

// usedIn returns the names that a file mentions, without those of fields, methods and other packages.
// It also leaves out names that the same function declares.
func usedIn(file *ast.File) (names []string) {
	for _, declaration := range file.Decls {
		local := localNames(declaration)
		for _, name := range mentionedIn(declaration) {
			if !local[name] {
				names = append(names, name)
			}
		}
	}
	return names
}

// localNames returns the names of parameters and variables that a function declares.
func localNames(declaration ast.Decl) map[string]bool {
	names := map[string]bool{}
	function, isFunction := declaration.(*ast.FuncDecl)
	if !isFunction {
		return names
	}
	add := func(expressions ...ast.Expr) {
		for _, expression := range expressions {
			if name, isName := expression.(*ast.Ident); isName {
				names[name.Name] = true
			}
		}
	}
	ast.Inspect(function, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Field:
			for _, name := range n.Names {
				add(name)
			}
		case *ast.ValueSpec:
			for _, name := range n.Names {
				add(name)
			}
		case *ast.AssignStmt:
			if n.Tok == token.DEFINE {
				add(n.Lhs...)
			}
		case *ast.RangeStmt:
			if n.Tok == token.DEFINE {
				add(n.Key, n.Value)
			}
		}
		return true
	})
	return names
}

// mentionedIn returns the names in a declaration, without those of fields, methods and other packages.
func mentionedIn(declaration ast.Decl) (names []string) {
	var collect func(n ast.Node) bool
	collect = func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			ast.Inspect(n.X, collect)
			return false
		case *ast.KeyValueExpr:
			if _, isField := n.Key.(*ast.Ident); !isField {
				ast.Inspect(n.Key, collect)
			}
			ast.Inspect(n.Value, collect)
			return false
		case *ast.Field:
			ast.Inspect(n.Type, collect)
			return false
		case *ast.FuncDecl:
			if n.Recv != nil {
				ast.Inspect(n.Recv, collect)
			}
			ast.Inspect(n.Type, collect)
			if n.Body != nil {
				ast.Inspect(n.Body, collect)
			}
			return false
		case *ast.Ident:
			names = append(names, n.Name)
		}
		return true
	}
	ast.Inspect(declaration, collect)
	return names
}
