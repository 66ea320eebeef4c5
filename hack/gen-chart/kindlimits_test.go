package main

import (
	"testing"

	"github.com/sublet-dev/sublet/pkg/syncer/kinds"
)

// TestKindLimits checks that the page has the limits of each kind, and of no other.
func TestKindLimits(t *testing.T) {
	t.Parallel()
	limits := limitsOf()
	for _, row := range kinds.Table() {
		if l, found := limits[row.Setting]; !found || l.passes == "" || l.refused == "" {
			t.Errorf("%s: write into limitsOf what of it passes and what is refused", row.Setting)
		}
		delete(limits, row.Setting)
	}
	for setting := range limits {
		t.Errorf("%s is no kind", setting)
	}
}
