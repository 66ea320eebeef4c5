package kinds

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/sublet-dev/sublet/pkg/syncer"
)

// TestCommonSettings checks that every kind has the common settings, or defines them itself,
// and a golden case of each.
func TestCommonSettings(t *testing.T) {
	t.Parallel()
	own := map[string]string{ // setting -> the setting that takes its place
		"sync.toHost.services.annotations":        "policies.services.annotations",
		"sync.toHost.ingresses.annotations":       "policies.ingresses.annotations",
		"sync.toHost.serviceAccounts.annotations": "itself",
		"sync.toHost.pods.labels":                 "itself",
		"sync.toHost.pods.annotations":            "itself",
		"sync.fromHost.nodes.selector":            "itself",
		"sync.fromHost.events.selector":           "none: Events have no labels of their own",
	}
	for _, row := range Table() {
		has, with := row.Settings(), ""
		kinds, _ := row.Kinds()
		for key, on := range map[string]bool{"selector": has.Selects, "labels": has.CopiesLabels, "annotations": has.CopiesAnnotations} {
			if (key == "selector") != (kinds[0].Owner() == syncer.Host) {
				continue
			}
			if _, ok := own[row.Setting+"."+key]; ok == on {
				t.Errorf("%s.%s: it is there: %t; it has another one: %t", row.Setting, key, on, ok)
			}
			delete(own, row.Setting+"."+key)
			if on && key != "selector" {
				with = "metadata-copied"
			} else if on {
				with = "not-selected"
			}
		}
		if with == "" {
			continue
		}
		if _, err := os.Stat(filepath.Join("testdata", row.Name(), with+".in.yaml")); err != nil {
			t.Errorf("%s: it needs a golden case: %v", row.Setting, err)
		}
	}
	for setting := range own {
		t.Errorf("%s: no kind lacks it", setting)
	}
}
