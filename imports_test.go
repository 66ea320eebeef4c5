// Package sublet holds no code: its one test keeps the rules of who may import
// whom, which docs/ARCHITECTURE.md explains.
package sublet

import (
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/sublet-dev/sublet/"

// rules say what a package may import of this module. A package below a listed
// one follows the rule of the longest match.
var rules = []struct {
	pkg     string
	allowed []string
}{
	{"api", []string{"api"}},
	{"cmd/sublet-server", []string{"pkg/app"}},
	{"pkg/config", []string{"api"}},
	{"pkg/storage", []string{"api"}},
	{"pkg/translate", []string{"api"}},
	{"pkg/syncer", []string{"pkg/translate", "api/labels", "api/syncz"}},
	{"pkg/syncer/kinds", []string{"pkg/syncer", "pkg/translate", "api"}},
	{"pkg/nodeproxy", []string{"pkg/translate", "api"}},
	{"pkg/dns", []string{"pkg/translate", "api"}},
	{"pkg/virtualscheduler", []string{"pkg/translate", "pkg/virtualscheduler", "api"}},
	{"pkg/controlplane", []string{"pkg/controlplane", "pkg/storage", "api"}},
	{"pkg/app", []string{"pkg", "api"}},
}

// kubernetes lists who may import k8s.io/kubernetes, which takes minutes to compile.
var kubernetes = []string{"pkg/controlplane", "pkg/virtualscheduler", "hostlab"}

func TestImports(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "./...").Output()
	if err != nil {
		t.Fatalf("cannot list the packages: %v", err)
	}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		pkg := strings.TrimPrefix(fields[0], module)
		for _, imported := range fields[1:] {
			if strings.HasPrefix(imported, "k8s.io/kubernetes/") && !below(pkg, kubernetes) {
				t.Errorf("%s imports %s: only %v may", pkg, imported, kubernetes)
			}
			if own, ours := strings.CutPrefix(imported, module); ours && !allowed(pkg, own) {
				t.Errorf("%s must not import %s", pkg, own)
			}
		}
	}
}

// allowed says whether pkg may import own, by the longest rule that names pkg.
func allowed(pkg, own string) bool {
	longest, may := "", true
	for _, rule := range rules {
		if below(pkg, []string{rule.pkg}) && len(rule.pkg) > len(longest) {
			longest, may = rule.pkg, below(own, rule.allowed)
		}
	}
	return may
}

func below(pkg string, roots []string) bool {
	for _, root := range roots {
		if pkg == root || strings.HasPrefix(pkg, root+"/") {
			return true
		}
	}
	return false
}
