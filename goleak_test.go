package sublet

import (
	"go/ast"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

// withoutLeakCheck maps a package that starts goroutines -> why no test of its own checks that none is left.
var withoutLeakCheck = map[string]string{
	"pkg/controlplane":        "its tests start API servers, and k8s.io/apiserver and etcd have goroutines that end with the process",
	"hostlab/sim":             "its tests start API servers too",
	"hostlab/sim/tenant":      "its tests start API servers too",
	"hostlab/cmd/conformance": "a command of two goroutines that wait for its end, without tests",
	"test/databases":          "the tests of the packages that use it check it",
	"pkg/cli/connect":         "the tests of pkg/cli run it, and check it",
	"pkg/cli/fleet":           "the tests of pkg/cli run it, and check it",
	"pkg/cli/list":            "the tests of pkg/cli run it, and check it",
	"pkg/cli/logs":            "the tests of pkg/cli run it, and check it",
}

// TestGoroutinesEnd fails for a package that starts goroutines and whose tests do not check
// that none is left.
func TestGoroutinesEnd(t *testing.T) {
	t.Parallel()
	parsed, err := parseModule()
	if err != nil {
		t.Fatal(err)
	}
	starting := map[string]bool{}
	for name, file := range parsed {
		if startsGoroutine(file) {
			starting[path.Dir(name)] = true
		}
	}
	for dir := range starting {
		switch checked := checksLeaks(t, dir); {
		case !checked && withoutLeakCheck[dir] == "":
			t.Errorf("%s starts goroutines: check in its TestMain with test/goroutines that none is left", dir)
		case checked && withoutLeakCheck[dir] != "":
			t.Errorf("%s checks that no goroutine is left: remove it from withoutLeakCheck", dir)
		}
	}
	for dir := range withoutLeakCheck {
		if !starting[dir] {
			t.Errorf("%s starts no goroutine: remove it from withoutLeakCheck", dir)
		}
	}
}

// startsGoroutine reports whether a file has a go statement, or calls Go of a WaitGroup or an errgroup.
func startsGoroutine(file *ast.File) (found bool) {
	ast.Inspect(file, func(node ast.Node) bool {
		switch node := node.(type) {
		case *ast.GoStmt:
			found = true
		case *ast.CallExpr:
			if called, ok := node.Fun.(*ast.SelectorExpr); ok && called.Sel.Name == "Go" {
				found = true
			}
		}
		return !found
	})
	return found
}

// checksLeaks reports whether a test of a package checks the goroutines of all of them.
func checksLeaks(t *testing.T, dir string) bool {
	t.Helper()
	tests, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range tests {
		content, err := os.ReadFile(filepath.Clean(name))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(content), "goroutines.Verify(") {
			return true
		}
	}
	return false
}
