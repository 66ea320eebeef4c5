// Command gen-chart writes the generated files of the chart and its reference pages. It
// reads the types in api/config/v1alpha1 and the table of synced kinds:
//
//	chart/values.yaml              every key with its default and its comment
//	chart/values.schema.json       the schema by which Helm and editors check values
//	chart/templates/_validate.tpl  the rules that the schema cannot express
//	chart/templates/_rbac.tpl      the permissions that the synced kinds need
//	docs/reference/values.md       the page of the values
//	docs/reference/kinds.md        the page of the synced kinds
//	docs/reference/presets.md      the page of the presets in chart/presets
//
// Run it in the root of the repository. With --check it writes nothing. It names the
// files that are not up to date, and fails if there are any.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/sublet-dev/sublet/pkg/syncer/kinds"
)

// file is one generated file.
type file struct {
	path    string
	content []byte
}

func main() {
	check := flag.Bool("check", false, "write nothing, fail if a file is not up to date")
	root := flag.String("root", ".", "root of the repository")
	flag.Parse()
	if err := run(*root, *check); err != nil {
		fmt.Fprintln(os.Stderr, "gen-chart:", err)
		os.Exit(1)
	}
}

// run generates all files, and writes them or compares them.
func run(root string, check bool) error {
	files, err := generate(root)
	if err != nil {
		return err
	}
	stale := 0
	for _, f := range files {
		path := filepath.Join(root, f.path)
		current, err := os.ReadFile(path)
		if err == nil && bytes.Equal(current, f.content) {
			continue
		}
		if check {
			fmt.Fprintln(os.Stderr, f.path, "is not up to date")
			stale++
			continue
		}
		if err := write(path, f.content); err != nil {
			return err
		}
		fmt.Println("wrote", f.path)
	}
	if stale > 0 {
		return fmt.Errorf("%d files are not up to date; run: go run ./hack/gen-chart", stale)
	}
	return nil
}

func write(path string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("cannot create the folder of %s: %w", path, err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	return nil
}

// generate returns all files.
func generate(root string) ([]file, error) {
	settings, err := load(filepath.Join(root, "api/config/v1alpha1"))
	if err != nil {
		return nil, err
	}
	presets, err := readPresets(filepath.Join(root, "chart/presets"))
	if err != nil {
		return nil, err
	}
	// The server never reads the switches of presets.
	withSwitches := withPresets(settings, presets)
	schema, err := schemaJSON(withSwitches)
	if err != nil {
		return nil, err
	}
	validation, err := validationTemplate(settings)
	if err != nil {
		return nil, err
	}
	rbac, err := rbacTemplate(rows())
	if err != nil {
		return nil, err
	}
	return []file{
		{"chart/values.yaml", valuesYAML(withSwitches)},
		{"chart/values.schema.json", schema},
		{"chart/templates/_validate.tpl", validation},
		{"chart/templates/_rbac.tpl", rbac},
		{"docs/reference/values.md", referencePage(withSwitches)},
		{"docs/reference/kinds.md", kindsPage(kinds.Table())},
		{"docs/reference/presets.md", presetsPage(presets)},
	}, nil
}
