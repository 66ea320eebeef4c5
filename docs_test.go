package sublet

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
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

// testName finds the names of tests in a document.
var testName = regexp.MustCompile("`(Test[A-Z][A-Za-z0-9]*)[`/]")

// TestSecurityNamesTests checks that each test exists that the page about security names.
func TestSecurityNamesTests(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("docs/SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	exists := map[string]bool{}
	err = filepath.WalkDir(".", func(path string, _ os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		code, err := os.ReadFile(path)
		for _, match := range regexp.MustCompile(`(?m)^func (Test[A-Za-z0-9]+)\(`).FindAllSubmatch(code, -1) {
			exists[string(match[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, match := range testName.FindAllSubmatch(text, -1) {
		if !exists[string(match[1])] {
			t.Errorf("docs/SECURITY.md names the test %s, which does not exist", match[1])
		}
	}
}
