package sublet

import (
	"flag"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// pattern limits TestProse to one package or document and lists its offenders:
//
//	go test -run TestProse . -args -package ./pkg/dns
//	go test -run TestProse . -args -package ./docs/...
var pattern = flag.String("package", "", "package, Markdown file, or tree (./pkg/...) of which TestProse lists all offenders")

// TestProse checks how names, comments and documents read, as far as a machine can:
// function comments, the length of sentences, banned words and outdated names.
func TestProse(t *testing.T) {
	t.Parallel()
	found, err := readProse()
	if err != nil {
		t.Fatal(err)
	}
	if *pattern != "" {
		for name, offences := range found {
			if matches(name, []string{strings.TrimPrefix(strings.TrimSuffix(*pattern, "/"), "./")}) {
				for _, offence := range offences {
					t.Error(offence)
				}
			}
		}
		return
	}
	for name, offences := range found {
		if len(offences) > 0 {
			t.Errorf("%s: %s", name, strings.Join(offences, "\n"))
		}
	}
}

// readProse checks all Go files, Markdown documents, templates and YAML files of the module. It returns
// package or document -> offences. The top package has the name ".".
func readProse() (map[string][]string, error) {
	found := map[string][]string{}
	err := filepath.WalkDir(".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if isSkipped(name) {
				return fs.SkipDir
			}
			return nil
		}
		name = filepath.ToSlash(name)
		switch path.Ext(name) {
		case ".go":
			source, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			offences, err := checkGo(name, source)
			found[path.Dir(name)] = append(found[path.Dir(name)], offences...)
			return err
		case ".md":
			text, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			found[name] = append(checkText(markdownParagraphs(string(text))), checkTables(string(text))...)
		case ".tpl", ".yaml":
			text, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			found[name] = checkText(templateParagraphs(string(text)))
		}
		return nil
	})
	return found, err
}

// isSkipped reports whether a folder has no code or prose of the repository.
func isSkipped(folder string) bool {
	base := filepath.Base(folder)
	return folder != "." && (strings.HasPrefix(base, ".") || slices.Contains([]string{"testdata", "out", "bin"}, base))
}
