package chart_test

import (
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/chart/common"
)

// TestNullSections takes one section after the other out of the values with null. Helm renders
// templates in an order of its own, so each that is early has to say what is missing.
func TestNullSections(t *testing.T) {
	t.Parallel()
	ch := loadChart(t)
	defaults := defaultTree(t)
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

// TestReuseValues upgrades with the values of a chart that did not have a section yet, as --reuse-values does.
func TestReuseValues(t *testing.T) {
	t.Parallel()
	release := common.ReleaseOptions{Name: "shop", Namespace: "tenant", Revision: 2, IsUpgrade: true}
	_, err := renderOn(loadChart(t), release, "v1.37.0", parse(t, "logging: null"))
	if err == nil || !strings.Contains(err.Error(), "Use --reset-then-reuse-values instead") {
		t.Errorf("Helm does not say how to get the new settings: %v", err)
	}
}
