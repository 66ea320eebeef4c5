package sublet

import (
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/sublet-dev/sublet/"

// rule lists what one package may import. A name that ends in /... covers the
// package and all below it. Standard library and other modules are free,
// except for those in restricted.
type rule struct {
	code  []string // imports of the package and of its tests
	tests []string // imports of its tests alone. All tests may import test/goroutines.
}

// rules maps a package to its rule. A package without a rule fails the test. Some
// packages are named before they exist, so that they start with a rule.
var rules = map[string]rule{
	"": {},

	"api/config/v1alpha1": {},
	"api/labels":          {},
	"api/release":         {code: []string{"api/labels"}},
	"api/syncz":           {},

	"cmd/sublet-server": {code: []string{"pkg/app"}},

	"cmd/sublet": {code: []string{"pkg/cli"}},

	// The command line is a small binary: it never links the server or the syncer.
	"pkg/cli":                 {code: []string{"pkg/cli/..."}, tests: []string{"test/certificates", "api/..."}},
	"pkg/cli/fault":           {},
	"pkg/cli/kubeconfig":      {},
	"pkg/cli/output":          {code: []string{"pkg/cli/fault", "api/syncz"}},
	"pkg/cli/forward":         {},
	"pkg/cli/fleet":           {code: []string{"pkg/cli/fault", "pkg/cli/host", "pkg/cli/kubeconfig", "pkg/cli/release"}},
	"pkg/cli/host":            {code: []string{"pkg/cli/fault", "pkg/cli/kubeconfig"}},
	"pkg/cli/release":         {code: []string{"pkg/cli/fault", "pkg/cli/host", "chart", "pkg/patch", "api/..."}},
	"pkg/cli/connection":      {code: cliShared, tests: []string{"test/await"}},
	"pkg/cli/check":           {code: append([]string{"pkg/patch"}, cliShared...)},
	"pkg/cli/connect":         {code: cliShared},
	"pkg/cli/create":          {code: cliShared},
	"pkg/cli/debug":           {code: cliShared},
	"pkg/cli/delete":          {code: cliShared},
	"pkg/cli/describe":        {code: cliShared},
	"pkg/cli/disconnect":      {code: cliShared},
	"pkg/cli/kubeconfigprint": {code: cliShared},
	"pkg/cli/list":            {code: cliShared},
	"pkg/cli/logs":            {code: cliShared},
	"pkg/cli/patchtest":       {code: append([]string{"pkg/patch", "pkg/translate"}, cliShared...)},
	"pkg/cli/top":             {code: cliShared},
	"pkg/cli/upgrade":         {code: cliShared},
	"pkg/cli/version":         {code: cliShared},

	"pkg/config":    {code: []string{"api/..."}},
	"pkg/backup":    {code: []string{"pkg/meter", "pkg/snapshot", "pkg/storage", "api/syncz"}},
	"pkg/meter":     {},
	"pkg/cgroup":    {},
	"pkg/connlimit": {code: []string{"pkg/meter"}},
	"pkg/recent":    {},
	"pkg/storage":   {code: []string{"pkg/cgroup", "pkg/meter", "api/..."}, tests: []string{"test/certificates", "test/databases", "test/etcd", "test/ports"}},

	"test/databases": {code: []string{"test/certificates", "test/ports"}},
	"pkg/translate":  {code: []string{"api/..."}},
	"pkg/custom":     {code: []string{"pkg/translate", "api/..."}},
	"pkg/policy":     {code: []string{"pkg/translate", "api/..."}},
	"pkg/patch":      {code: []string{"pkg/translate", "api/..."}},

	"pkg/syncer":             {code: []string{"pkg/meter", "pkg/translate", "api/labels", "api/syncz"}},
	"pkg/syncer/kinds/nodes": {code: []string{"pkg/syncer", "pkg/translate", "pkg/policy", "api/..."}},
	"pkg/syncer/kinds":       {code: []string{"pkg/custom", "pkg/syncer", "pkg/syncer/kinds/nodes", "pkg/translate", "pkg/policy", "api/..."}},
	// The tests look at nodes as the syncer does.
	"pkg/admission": {code: []string{
		"pkg/custom", "pkg/policy", "pkg/translate", "pkg/syncer/kinds/nodes", "api/...", "k8s.io/apiserver",
	}, tests: []string{"pkg/syncer"}},

	"pkg/controlplane/pki":            {},
	"pkg/controlplane/loopback":       {code: []string{"k8s.io/apiserver", "k8s.io/kubernetes"}},
	"pkg/controlplane/openapi":        {code: []string{"pkg/controlplane/requestmemory", "k8s.io/apiserver", "k8s.io/kubernetes"}},
	"pkg/controlplane/audit":          {code: []string{"api/config/v1alpha1", "k8s.io/apiserver"}, tests: []string{"test/await"}},
	"pkg/controlplane/authentication": {code: []string{"api/config/v1alpha1", "api/syncz", "k8s.io/apiserver"}, tests: []string{"test/await", "test/oidc"}},
	"pkg/controlplane/encryption":     {code: []string{"pkg/meter", "api/syncz", "k8s.io/apiserver"}, tests: []string{"pkg/storage"}},
	"pkg/controlplane/quantities":     {},
	"pkg/controlplane/queues":         {},
	"pkg/controlplane/routes":         {},
	"pkg/controlplane/requestmemory":  {code: []string{"pkg/meter", "k8s.io/apiserver"}},
	"pkg/controlplane/informers":      {code: []string{"k8s.io/apiserver", "k8s.io/kubernetes"}},
	"pkg/controlplane": {code: []string{
		"pkg/connlimit", "pkg/controlplane/...", "pkg/meter", "pkg/policy", "pkg/storage", "api/...", "k8s.io/apiserver", "k8s.io/kubernetes",
	}, tests: []string{"test/databases", "test/await", "test/oidc"}},

	"pkg/virtualscheduler": {code: []string{
		"pkg/virtualscheduler/usage", "pkg/meter", "pkg/translate", "api/...", "k8s.io/apiserver", "k8s.io/kubernetes",
	}},
	"pkg/snapshot":               {code: []string{"pkg/storage", "api/..."}, tests: []string{"test/databases"}},
	"pkg/virtualscheduler/usage": {code: []string{"pkg/translate", "api/..."}},
	// The kubelet's own proxy handler lives there; the tests use it as the host.
	"pkg/nodeproxy": {code: []string{"pkg/controlplane/pki", "pkg/meter", "pkg/translate", "api/..."}, tests: []string{"k8s.io/apiserver"}},
	// It serves an API group in the API server.
	"pkg/metricsapi": {code: []string{"pkg/recent", "pkg/translate", "api/...", "k8s.io/apiserver"}},
	// It takes requests from the handlers of the API server.
	"pkg/kubeletmetrics": {code: []string{"pkg/recent", "pkg/translate", "api/...", "k8s.io/apiserver"}},
	"pkg/egress":         {code: []string{"pkg/meter", "pkg/translate", "pkg/policy", "api/..."}, tests: []string{"test/await"}},
	"pkg/dns":            {code: []string{"pkg/connlimit", "pkg/meter", "pkg/translate", "api/..."}},

	// What the server does for its own release links no Kubernetes, so that its
	// tests are quick and run under the race detector.
	"pkg/app/autoscale":       {code: []string{"pkg/meter", "api/syncz"}, tests: []string{"pkg/storage", "test/databases"}},
	"pkg/app/customresources": {code: []string{"pkg/app/patches", "pkg/custom", "pkg/patch", "pkg/syncer/...", "pkg/translate", "api/..."}, tests: []string{"test/await"}},
	"pkg/app/definitions":     {code: []string{"pkg/custom", "api/labels"}},
	"pkg/app/host":            {code: []string{"pkg/controlplane/pki", "pkg/meter", "api/..."}},
	"pkg/app/hostnames":       {code: []string{"pkg/translate", "api/labels"}},
	"pkg/app/lifecycle":       {},
	"pkg/app/limits":          {code: []string{"pkg/syncer"}},
	"pkg/app/patches":         {code: []string{"pkg/patch", "pkg/syncer/...", "pkg/translate", "api/..."}},
	"pkg/app/manifests":       {code: []string{"api/..."}},
	"pkg/app/podgc":           {code: []string{"pkg/translate"}},
	"pkg/app/storesocket":     {code: []string{"pkg/storage"}, tests: []string{"pkg/snapshot", "test/databases"}},
	"pkg/app/nameserver":      {code: []string{"pkg/dns", "api/..."}, tests: []string{"pkg/controlplane/pki"}},
	"pkg/app/operator":        {code: []string{"api/syncz"}, tests: []string{"pkg/controlplane/pki"}},
	"pkg/app": {code: []string{
		"pkg/app/...", "pkg/admission", "pkg/backup", "pkg/cgroup", "pkg/config", "pkg/controlplane/...", "pkg/custom", "pkg/dns", "pkg/egress", "pkg/kubeletmetrics", "pkg/meter", "pkg/metricsapi", "pkg/nodeproxy", "pkg/patch", "pkg/policy",
		"pkg/snapshot", "pkg/storage", "pkg/syncer/...", "pkg/translate", "pkg/virtualscheduler/...", "api/...",
	}, tests: []string{"test/await"}},

	"chart":                      {tests: []string{"api/...", "pkg/config", "pkg/syncer/kinds"}},
	"hack/bench":                 {code: []string{"hostlab/sim/...", "test/consistency", "pkg/virtualscheduler/usage", "api/..."}},
	"hack/demo":                  {code: []string{"hostlab/sim/...", "api/..."}},
	"hack/gen-cli":               {code: []string{"pkg/cli", "pkg/cli/host"}},
	"hack/gen-chart":             {code: []string{"api/...", "pkg/syncer", "pkg/syncer/kinds", "pkg/policy"}},
	"hack/image":                 {code: []string{"hostlab/oci"}},
	"hostlab":                    {code: []string{"hostlab/oci", "pkg/controlplane/pki", "api/..."}},
	"hostlab/conformance":        {code: []string{"hostlab", "hostlab/oci"}},
	"hostlab/cmd/conformance":    {code: []string{"hostlab", "hostlab/conformance"}},
	"hostlab/netpol":             {},
	"hostlab/oci":                {},
	"hostlab/volumes":            {},
	"hostlab/cmd/holder":         {},
	"hostlab/cmd/hostctl":        {code: []string{"hostlab"}},
	"hostlab/cmd/hostd":          {code: []string{"k8s.io/apiserver", "k8s.io/kubernetes"}},
	"hostlab/cmd/netpol":         {code: []string{"hostlab/netpol"}},
	"hostlab/cmd/pause":          {},
	"hostlab/cmd/testoperator":   {},
	"hostlab/cmd/testserver":     {code: []string{"pkg/controlplane/pki"}},
	"hostlab/cmd/volumes":        {code: []string{"hostlab/volumes"}},
	"hostlab/sim":                {code: []string{"pkg/controlplane/...", "pkg/storage", "api/...", "k8s.io/apiserver", "k8s.io/kubernetes"}},
	"hostlab/sim/tenant":         {code: []string{"api/..."}},
	"test/await":                 {},
	"test/certificates":          {},
	"test/clock":                 {},
	"test/consistency":           {},
	"test/etcd":                  {code: []string{"test/ports"}},
	"test/goroutines":            {},
	"test/oidc":                  {},
	"test/ports":                 {},
	"test/e2e":                   {tests: []string{"hostlab", "test/certificates", "test/consistency", "test/databases", "test/etcd", "test/ports", "api/..."}},
	"test/integration":           {tests: []string{"api/...", "pkg/...", "test/await", "test/certificates", "test/ports", "k8s.io/apiserver", "k8s.io/kubernetes"}},
	"test/integration/attacks":   {tests: []string{"api/...", "hostlab/sim/...", "test/await"}},
	"test/integration/egress":    {tests: []string{"api/...", "pkg/...", "test/await", "test/ports", "k8s.io/apiserver", "k8s.io/kubernetes"}},
	"test/integration/exports":   {tests: []string{"hostlab/sim/..."}},
	"test/integration/installer": {tests: []string{"hostlab/sim", "pkg/cli", "pkg/cli/host"}},
	"test/integration/kubelets":  {tests: []string{"api/...", "pkg/...", "test/await", "k8s.io/apiserver", "k8s.io/kubernetes"}},
	"test/integration/replicas":  {tests: []string{"api/...", "pkg/...", "hostlab/sim/...", "test/await", "test/clock", "test/consistency", "test/etcd", "test/ports", "k8s.io/apiserver", "k8s.io/kubernetes"}},
	"test/integration/move":      {tests: []string{"api/...", "pkg/...", "test/await", "test/ports", "k8s.io/apiserver", "k8s.io/kubernetes"}},
	"test/integration/scheduler": {tests: []string{"api/...", "pkg/...", "hostlab/sim/...", "test/await", "k8s.io/apiserver", "k8s.io/kubernetes"}},
}

// cliShared is what commands share. No command imports another one.
var cliShared = []string{
	"pkg/cli/fault", "pkg/cli/kubeconfig", "pkg/cli/output", "pkg/cli/forward", "pkg/cli/host", "pkg/cli/release", "pkg/cli/connection", "pkg/cli/fleet", "api/...",
}

// restricted are modules that a rule must name before a package may import them:
// they take minutes to compile.
var restricted = []string{"k8s.io/kubernetes", "k8s.io/apiserver"}

// outdated are imports that no rule allows and that are not gone yet:
// "package import". The test fails for one that is gone, so the list only shrinks.
var outdated = []string{}

func TestImports(t *testing.T) {
	t.Parallel()
	format := `{{.ImportPath}}|{{join .Imports " "}}|{{join .TestImports " "}} {{join .XTestImports " "}}`
	out, err := exec.Command("go", "list", "-tags", "e2e", "-f", format, "./...").Output()
	if err != nil {
		t.Fatalf("cannot list packages: %v", err)
	}
	met := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		fields := strings.Split(strings.TrimSpace(line), "|")
		offences := checkImports(ownPackage(fields[0]), strings.Fields(fields[1]), strings.Fields(fields[2]))
		for edge, reason := range offences {
			if slices.Contains(outdated, edge) {
				met[edge] = true
				continue
			}
			t.Error(reason)
		}
	}
	for _, edge := range outdated {
		if !met[edge] {
			t.Errorf("%s is gone: remove it from the list outdated", edge)
		}
	}
}

// TestImportRules checks that the rules fail closed.
func TestImportRules(t *testing.T) {
	t.Parallel()
	own := func(names ...string) []string {
		var imports []string
		for _, name := range names {
			imports = append(imports, module+name)
		}
		return imports
	}
	for _, c := range []struct {
		reason      string
		pkg         string
		code, tests []string
		want        []string
	}{
		{"a package without a rule", "pkg/common", nil, nil, []string{"pkg/common"}},
		{"an import that the rule names", "pkg/dns", own("pkg/translate"), nil, nil},
		{"an import below a name that ends in dots", "pkg/dns", own("api/config/v1alpha1"), nil, nil},
		{"an import below a name without dots", "pkg/syncer/kinds", own("pkg/syncer/kinds/nodes/other"), nil, []string{
			"pkg/syncer/kinds pkg/syncer/kinds/nodes/other",
		}},
		{"a sibling", "pkg/dns", own("pkg/syncer"), nil, []string{"pkg/dns pkg/syncer"}},
		{"a sibling in a test", "pkg/dns", nil, own("pkg/syncer"), []string{"pkg/dns pkg/syncer"}},
		{"the package itself in a test", "pkg/dns", nil, own("pkg/dns"), nil},
		{"a free module", "pkg/dns", []string{"k8s.io/api/core/v1"}, nil, nil},
		{"a restricted module", "pkg/dns", []string{"k8s.io/kubernetes/pkg/api"}, nil, []string{"pkg/dns k8s.io/kubernetes"}},
		{"what tests alone may import, in code", "pkg/nodeproxy", []string{"k8s.io/apiserver/pkg/util/proxy"}, nil, []string{
			"pkg/nodeproxy k8s.io/apiserver",
		}},
		{"what tests alone may import, in a test", "pkg/nodeproxy", nil, []string{"k8s.io/apiserver/pkg/util/proxy"}, nil},
	} {
		got := slices.Sorted(maps.Keys(checkImports(c.pkg, c.code, c.tests)))
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: got %q, want %q", c.reason, got, c.want)
		}
	}
}

// checkImports returns the imports of a package that its rule does not allow:
// "package import" -> what is wrong. A package without a rule is returned itself.
func checkImports(pkg string, code, tests []string) map[string]string {
	rule, ok := rules[pkg]
	if !ok {
		return map[string]string{pkg: fmt.Sprintf("%s has no rule: add one to rules", pkg)}
	}
	offences := map[string]string{}
	check := func(imports, allowed []string, where string) {
		for _, imported := range imports {
			name := restrictedName(imported)
			if name == "" || name == pkg || matches(name, allowed) {
				continue
			}
			offences[pkg+" "+name] = fmt.Sprintf("%s must not import %s%s", pkg, imported, where)
		}
	}
	check(code, rule.code, "")
	check(tests, slices.Concat(rule.code, rule.tests, []string{"test/goroutines"}), " in a test")
	return offences
}

// restrictedName returns the name by which rules allow an import: that of a
// package of this module, or that of a restricted module. It is empty for all else.
func restrictedName(imported string) string {
	if strings.HasPrefix(imported, module) {
		return ownPackage(imported)
	}
	for _, name := range restricted {
		if strings.HasPrefix(imported, name+"/") {
			return name
		}
	}
	return ""
}

// ownPackage returns the path of a package below the top of this module.
func ownPackage(path string) string {
	return strings.TrimPrefix(strings.TrimPrefix(path, strings.TrimSuffix(module, "/")), "/")
}

// matches reports whether one of the patterns names the package.
func matches(name string, patterns []string) bool {
	for _, pattern := range patterns {
		parent, recursive := strings.CutSuffix(pattern, "/...")
		if name == parent || recursive && strings.HasPrefix(name, parent+"/") {
			return true
		}
	}
	return false
}
