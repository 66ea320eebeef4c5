package patch

import (
	"os"
	"path/filepath"
	"testing"

	"sigs.k8s.io/yaml"
)

// TestPresets compiles the patches of the presets in the chart.
func TestPresets(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../chart/presets/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	patched := 0
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		values := map[string]any{}
		if err := yaml.Unmarshal(data, &values); err != nil {
			t.Fatal(err)
		}
		sync, err := FromValues(values)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		patched += len(sync.Patched())
		for _, problem := range append(sync.PatchProblems(), Check(sync)...) {
			t.Errorf("%s: %+v", path, problem)
		}
	}
	if patched == 0 {
		t.Error("no preset has patches")
	}
}
