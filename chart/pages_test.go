package chart_test

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/sublet-dev/sublet/pkg/config"
	"github.com/sublet-dev/sublet/pkg/syncer/kinds"
)

// TestPages gives Helm and the server the settings that the pages for operators show. Each page has complete ones.
func TestPages(t *testing.T) {
	t.Parallel()
	ch := loadChart(t)
	pages, err := filepath.Glob("../docs/how-to/*.md")
	if err != nil {
		t.Fatal(err)
	}
	sections, _ := defaultTree(t).(map[string]any)
	blocks, found := regexp.MustCompile("(?s)\n```(?:yaml)?\n(.*?)\n```"), 0
	for _, page := range pages {
		for _, block := range blocks.FindAllStringSubmatch(readFile(t, page), -1) {
			values := map[string]any{}
			if err := yaml.Unmarshal([]byte(block[1]), &values); err != nil || !areSettings(values, sections) {
				continue // It is no example of settings.
			}
			found++
			t.Run(strings.TrimSuffix(filepath.Base(page), ".md"), func(t *testing.T) {
				t.Parallel() // Each renders the whole chart.
				rendered, err := render(ch, values)
				if err != nil {
					t.Fatalf("Helm refuses these settings: %v\n%s", err, block[1])
				}
				secret := object[*corev1.Secret](t, rendered, "shop-config")
				if _, err := config.Parse(secret.Data["config.yaml"], kinds.Settings()...); err != nil {
					t.Errorf("the server refuses these settings: %v\n%s", err, block[1])
				}
			})
		}
	}
	if found < 10 {
		t.Errorf("only %d examples were found", found)
	}
}

// areSettings reports whether all keys of values are sections of the settings.
func areSettings(values, sections map[string]any) bool {
	for key := range values {
		if _, isSection := sections[key]; !isSection {
			return false
		}
	}
	return len(values) > 0
}
