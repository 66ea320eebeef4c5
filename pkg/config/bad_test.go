package config_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sublet-dev/sublet/pkg/config"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestBad parses every bad configuration in testdata/bad. Each has in its first
// lines which paths are to be refused; testdata/bad.txt has the messages. The
// tests of the chart give the same files to Helm, which looks at combinations
// only if every value is good by itself.
func TestBad(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 30 {
		t.Fatalf("found only %d bad configurations", len(files))
	}
	var messages strings.Builder
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, err = config.Parse(data, testKinds()...)
		var refused *config.Error
		if !errors.As(err, &refused) {
			t.Errorf("%s: Parse returned %v, want a *config.Error", file, err)
			continue
		}
		var paths []string
		for _, problem := range refused.Problems {
			paths = append(paths, problem.Field)
			if problem.Detail == "" {
				t.Errorf("%s: %s does not tell what to do", file, problem)
			}
		}
		if diff := cmp.Diff(refusedPaths(string(data)), paths); diff != "" {
			t.Errorf("%s: refused paths (-want +got):\n%s", file, diff)
		}
		fmt.Fprintf(&messages, "== %s\n%s\n\n", strings.TrimSuffix(filepath.Base(file), ".yaml"), err)
	}
	compareGolden(t, "testdata/bad.txt", messages.String())
}

// refusedPaths returns the paths in the first lines of a bad configuration.
func refusedPaths(text string) []string {
	var paths []string
	for line := range strings.Lines(text) {
		if comment, path, found := strings.Cut(line, ": "); found && strings.HasPrefix(comment, "# refused") {
			paths = append(paths, strings.TrimSpace(path))
		}
	}
	slices.Sort(paths)
	return paths
}

func compareGolden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got); -update rewrites it:\n%s", file, diff)
	}
}
