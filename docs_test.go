package sublet

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// linkTarget finds the target of a Markdown link, without its anchor.
var linkTarget = regexp.MustCompile(`\]\(([^)#]+)[^)]*\)`)

// TestLinks checks that each relative link of the documents leads to a file.
func TestLinks(t *testing.T) {
	t.Parallel()
	documents, err := filepath.Glob("docs/*/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, document := range append(documents, "docs/SECURITY.md", "docs/CONFORMANCE.md", "README.md", "CONTRIBUTING.md", "docs/ARCHITECTURE.md") {
		text, err := os.ReadFile(document)
		if err != nil {
			t.Fatal(err)
		}
		for _, link := range linkTarget.FindAllStringSubmatch(string(text), -1) {
			if strings.Contains(link[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(document), link[1])); err != nil {
				t.Errorf("%s: cannot follow link: %v", document, err)
			}
		}
	}
}

// testName finds the names of tests in a document, with their subtests.
var testName = regexp.MustCompile("`(Test[A-Z][A-Za-z0-9]*)(?:/([A-Za-z0-9]+))?`")

// TestPagesNameTests checks that each test exists that a page names.
func TestPagesNameTests(t *testing.T) {
	t.Parallel()
	var tests strings.Builder // the text of all files with tests
	err := filepath.WalkDir(".", func(path string, _ os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		code, err := os.ReadFile(path)
		tests.Write(code)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range []string{"docs/SECURITY.md", "docs/CONFORMANCE.md"} {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range testName.FindAllStringSubmatch(string(text), -1) {
			found := strings.Contains(tests.String(), "\nfunc "+match[1]+"(")
			if sub := match[2]; !found || sub != "" && !strings.Contains(tests.String(), `"`+sub+`"`) {
				t.Errorf("%s names the test %s, which does not exist", page, match[0])
			}
		}
	}
}

// TestSecurityNamesPolicies checks that the page names each policy among the settings that weaken what it promises.
func TestSecurityNamesPolicies(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("docs/SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("chart/values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var values struct {
		Policies map[string]any `json:"policies"`
	}
	if err := yaml.Unmarshal(text, &values); err != nil || len(values.Policies) == 0 {
		t.Fatalf("no policies: %v", err)
	}
	_, settings, _ := strings.Cut(string(page), "## Settings that weaken it")
	delete(values.Policies, "readOnly") // It weakens nothing.
	for policy := range values.Policies {
		if !strings.Contains(settings, "`policies."+policy) {
			t.Errorf("docs/SECURITY.md does not name policies.%s among the settings", policy)
		}
	}
}

// TestArchitectureNamesPackages checks that the page names each package: by its path, or by its last
// element after its parent. Programs, verbs of the command line and tests are named as a whole.
func TestArchitectureNamesPackages(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("docs/ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	for pkg := range rules {
		if whole := regexp.MustCompile(`^$|^cmd/|^pkg/cli/|^hostlab/cmd/|^test/(e2e|integration)`); whole.MatchString(pkg) {
			continue
		}
		if _, err := os.Stat(pkg); err != nil {
			continue // It is named before it exists.
		}
		if page := string(text); !strings.Contains(page, "`"+pkg+"`") && !strings.Contains(page, ", `"+path.Base(pkg)+"`") &&
			!strings.Contains(page, ", `"+path.Join(path.Base(path.Dir(pkg)), path.Base(pkg))+"`") {
			t.Errorf("docs/ARCHITECTURE.md does not name %s", pkg)
		}
	}
}

// metricName finds the names of metrics in a document.
var metricName = regexp.MustCompile(`\bsublet_[a-z_]+\b`)

// TestMonitorNamesMetrics checks that the code has each metric of our own that the page names. A package has its whole
// name, or its subsystem and the rest of the name.
func TestMonitorNamesMetrics(t *testing.T) {
	t.Parallel()
	code := map[string]string{} // package -> the text of its files without tests
	err := filepath.WalkDir("pkg", func(path string, _ os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		code[filepath.Dir(path)] += string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("docs/how-to/monitor.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range metricName.FindAllString(string(page), -1) {
		part, rest, _ := strings.Cut(strings.TrimPrefix(name, "sublet_"), "_")
		subsystem, found := regexp.MustCompile(`Subsystem: +"`+part+`"`), false
		for _, text := range code {
			found = found || strings.Contains(text, `"`+name+`"`) || subsystem.MatchString(text) && strings.Contains(text, `"`+rest+`"`)
		}
		if !found {
			t.Errorf("docs/how-to/monitor.md names the metric %s, which does not exist", name)
		}
	}
}
