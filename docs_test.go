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
	for _, document := range append(documents, "README.md", "CONTRIBUTING.md", "docs/ARCHITECTURE.md") {
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
