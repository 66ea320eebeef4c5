package patch

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
)

// readPreset returns the patches of a preset.
func readPreset(t *testing.T, path string) *v1alpha1.Sync {
	t.Helper()
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
	return sync
}

// TestPresets compiles the patches of the presets in the chart.
func TestPresets(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../chart/presets/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	patched := 0
	for _, path := range files {
		sync := readPreset(t, path)
		patched += len(sync.Patched())
		for _, problem := range append(sync.PatchProblems(), Check(sync)...) {
			t.Errorf("%s: %+v", path, problem)
		}
	}
	if patched == 0 {
		t.Error("no preset has patches")
	}
}

// TestScrapesFollowNoRedirect gives monitors of a tenant to the preset for Prometheus. A pod of the tenant could
// lead the host's Prometheus to any address.
func TestScrapesFollowNoRedirect(t *testing.T) {
	t.Parallel()
	sync := readPreset(t, "../../chart/presets/prometheusOperator.yaml")
	for resource, field := range map[string]string{
		"servicemonitors.monitoring.coreos.com": "endpoints", "podmonitors.monitoring.coreos.com": "podMetricsEndpoints",
	} {
		set := compile(t, Options{Content: true}, sync.ToHost.CustomResources[resource].Patches...)
		original := "spec: {" + field + ": [{port: a}, {port: b, followRedirects: true}]}"
		change := Change{Cluster: testCluster(), Original: tree(t, original), Copy: tree(t, original)}
		if err := set.Content(change); err != nil {
			t.Fatal(err)
		}
		want := "spec: {" + field + ": [{port: a, followRedirects: false}, {port: b, followRedirects: false}]}"
		if diff := cmp.Diff(tree(t, want), change.Copy); diff != "" {
			t.Errorf("%s (-want +got):\n%s", resource, diff)
		}
	}
}
