package app

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// partsByFunc finds the parts that the functions of this package return.
type partsByFunc map[string]*ast.FuncDecl // name -> declaration

// partOf returns the name of the part that a literal is. ok is false for any other literal.
func partOf(literal *ast.CompositeLit) (name string, leads, ok bool) {
	for _, element := range literal.Elts {
		pair, isPair := element.(*ast.KeyValueExpr)
		if !isPair {
			return "", false, false
		}
		key, _ := pair.Key.(*ast.Ident)
		switch {
		case key == nil:
			return "", false, false
		case key.Name == "Name":
			name = "Secrets of the release" // It has no literal: each one is named after its Secret.
			if text, isText := pair.Value.(*ast.BasicLit); isText {
				name, _ = strconv.Unquote(text.Value)
			}
		case key.Name == "Run":
			ok = true
		case key.Name == "Leader":
			leads = true
		}
	}
	return name, leads, ok && name != ""
}

// list returns the parts of a function in their order, those of the leader apart.
func (f partsByFunc) list(function string) (all, leader []string) {
	ast.Inspect(f[function], func(node ast.Node) bool {
		switch node := node.(type) {
		case *ast.CompositeLit:
			name, leads, ok := partOf(node)
			switch {
			case ok && leads:
				leader = append(leader, name)
			case ok:
				all = append(all, name)
			}
		case *ast.CallExpr:
			called, ok := node.Fun.(*ast.SelectorExpr)
			if !ok || !strings.HasSuffix(strings.ToLower(called.Sel.Name), "parts") {
				return true
			}
			name := called.Sel.Name
			if name == "parts" {
				name = "scheduling.parts"
			}
			further, leading := f.list(name)
			all, leader = append(all, further...), append(leader, leading...)
		}
		return true
	})
	return all, leader
}

// TestDocListsParts compares the lists in the comment of the package with the parts, in their order.
func TestDocListsParts(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	functions, comment := partsByFunc{}, ""
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		if name == "doc.go" {
			comment = file.Doc.Text()
		}
		for _, declaration := range file.Decls {
			if function, ok := declaration.(*ast.FuncDecl); ok && !strings.HasSuffix(name, "_test.go") {
				key := function.Name.Name
				if key == "parts" {
					key = strings.TrimSuffix(name, ".go") + ".parts"
				}
				functions[key] = function
			}
		}
	}
	every, leader := functions.list("app.parts")
	syncing, _ := functions.list("syncAlone")
	var listed [][]string
	for _, block := range regexp.MustCompile(`(?m)(^\t.*\n)+`).FindAllString(comment, -1) {
		var names []string
		for name := range strings.SplitSeq(block, "→") {
			names = append(names, strings.TrimSpace(name))
		}
		listed = append(listed, names)
	}
	if diff := cmp.Diff([][]string{every, leader, syncing}, listed); diff != "" {
		t.Errorf("parts (-code +comment of the package):\n%s", diff)
	}
}
