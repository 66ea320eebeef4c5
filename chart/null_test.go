package chart_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/chart/common"
	corev1 "k8s.io/api/core/v1"

	"github.com/sublet-dev/sublet/pkg/config"
	"github.com/sublet-dev/sublet/pkg/syncer/kinds"
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

// TestNullLeaves takes one value after the other out with null, where Helm allows that. The server gets nothing in its
// place: Helm has no default for it any more.
func TestNullLeaves(t *testing.T) {
	t.Parallel()
	ch := onlyTemplates(loadChart(t), ".tpl", "/config.yaml")
	defaults := defaultTree(t)
	required := readFile(t, "templates/_validate.tpl")
	for _, path := range allPaths(t) {
		value, isLeaf := leaf(defaults, path)
		// Helm refuses what is required. The server does not read the contexts of containers.
		if !isLeaf || isEmpty(value) || strings.Contains(required, fmt.Sprintf("%q\n", path)) || strings.Contains(path, ".statefulSet.security.") ||
			path == "sync.toHost.pods.enabled" {
			continue
		}
		tree := map[string]any{}
		set(tree, path, nil)
		rendered, err := render(ch, tree)
		if err != nil {
			t.Errorf("Helm refuses null for %s, and not as others: %v", path, err)
			continue
		}
		parsed, err := config.Parse(object[*corev1.Secret](t, rendered, "shop-config").Data["config.yaml"], kinds.Settings()...)
		if err != nil {
			t.Errorf("%s: the server refuses the null that Helm accepts: %v", path, err)
			continue
		}
		data, err := json.Marshal(parsed)
		if err != nil {
			t.Fatal(err)
		}
		var read any
		if err := json.Unmarshal(data, &read); err != nil {
			t.Fatal(err)
		}
		if got, _ := leaf(read, path); !isEmpty(got) {
			t.Errorf("%s: null is nothing for Helm, and %v for the server. The default is %v", path, got, value)
		}
	}
}

// isEmpty reports whether a value is missing, or has nothing.
func isEmpty(value any) bool {
	switch value := value.(type) {
	case nil:
		return true
	case []any:
		return len(value) == 0
	case map[string]any:
		return len(value) == 0
	case string:
		return value == ""
	case bool:
		return !value
	}
	return false
}
