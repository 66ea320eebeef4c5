package chart_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/syncer/kinds"
)

// TestNullSections takes one section after the other out of the values with null. Helm renders
// templates in an order of its own, so each that is early has to say what is missing.
func TestNullSections(t *testing.T) {
	t.Parallel()
	ch := loadChart(t)
	data, err := json.Marshal(v1alpha1.Default(kinds.Settings()...))
	if err != nil {
		t.Fatal(err)
	}
	var defaults any
	if err := json.Unmarshal(data, &defaults); err != nil {
		t.Fatal(err)
	}
	for _, path := range allPaths(t) {
		if _, isLeaf := leaf(defaults, path); isLeaf {
			continue
		}
		t.Run(path, func(t *testing.T) {
			t.Parallel() // Each renders the whole chart.
			tree := map[string]any{}
			set(tree, path, nil)
			_, err := render(ch, tree)
			if err != nil && !strings.Contains(err.Error(), "must not be null; leave the line out") && !strings.Contains(err.Error(), "at '/") {
				t.Errorf("Helm does not say what is missing: %v", err)
			}
		})
	}
}
