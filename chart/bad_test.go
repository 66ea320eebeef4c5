package chart_test

import (
	"flag"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	chart "helm.sh/helm/v4/pkg/chart/v2"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestBad gives Helm the bad configurations that the server refuses, too. Each
// has in its first lines which paths are to be refused; testdata/bad.txt has
// the messages.
func TestBad(t *testing.T) {
	t.Parallel()
	ch := loadChart(t)
	files, err := filepath.Glob("../pkg/config/testdata/bad/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 30 {
		t.Fatalf("found only %d bad configurations", len(files))
	}
	messages := make([]string, len(files))
	t.Cleanup(func() { // All configurations are rendered by then, except for those that -run leaves out.
		if !t.Failed() && !slices.Contains(messages, "") {
			compareGolden(t, "testdata/bad.txt", strings.Join(messages, ""))
		}
	})
	for i, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel() // Each renders the whole chart.
			messages[i] = refusal(t, ch, file)
		})
	}
}

// refusal returns the message of Helm about a bad configuration, below its name. It checks
// that the message names all that is to be refused.
func refusal(t *testing.T, ch *chart.Chart, file string) string {
	t.Helper()
	text := readFile(t, file)
	_, err := render(ch, parse(t, text))
	if err == nil {
		t.Fatal("Helm takes it")
	}
	message := inOrder(err.Error())
	for line := range strings.Lines(text) {
		path, found := strings.CutPrefix(line, "# refused: ")
		if found && !isAbout(message, strings.TrimSpace(path)) {
			t.Errorf("Helm does not name %s:\n%s", strings.TrimSpace(path), message)
		}
	}
	return fmt.Sprintf("== %s\n%s\n\n", strings.TrimSuffix(filepath.Base(file), ".yaml"), message)
}

// isAbout reports whether a message is about a path. The templates write it with dots,
// the schema with slashes. A key in brackets may have both.
func isAbout(message, path string) bool {
	pointer := "/"
	for outside, inside := range keysOf(path) {
		pointer += strings.ReplaceAll(outside, ".", "/")
		if strings.HasSuffix(path, "]") || inside != "" {
			pointer += "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(inside)
		}
	}
	if above, key, inMap := strings.Cut(strings.TrimSuffix(path, "]"), "["); inMap && strings.Contains(message, above+`: Invalid value: {"`+key+`"`) {
		return true // A template shows the whole map.
	}
	return strings.Contains(message, path+": ") || strings.Contains(message, "at '"+pointer+"': ")
}

// keysOf returns the parts of a path before a bracket, each with the key in the bracket.
func keysOf(path string) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for path != "" {
			outside, rest, found := strings.Cut(path, "[")
			inside, after, _ := strings.Cut(rest, "]")
			if !found {
				inside, after = "", ""
			}
			if !yield(outside, inside) {
				return
			}
			path = after
		}
	}
}

// inOrder sorts the problems of the schema, which Helm lists in any order. Lines
// that say more about a problem stay below it.
func inOrder(message string) string {
	return sortBelow(strings.TrimSpace(message), "\n- ")
}

func sortBelow(text, bullet string) string {
	head, list, found := strings.Cut(text, bullet)
	if !found {
		return head
	}
	problems := strings.Split(list, bullet)
	for i, problem := range problems {
		problems[i] = sortBelow(problem, "\n  "+strings.TrimPrefix(bullet, "\n"))
	}
	slices.Sort(problems)
	return head + bullet + strings.Join(problems, bullet)
}

func compareGolden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(readFile(t, file), got); diff != "" {
		t.Errorf("%s (-want +got); -update rewrites it:\n%s", file, diff)
	}
}
