package chart_test

import (
	"strings"
	"testing"
)

// TestSchedulerRights holds that pods of the whole host are read for the sums of
// what others use, and for nothing else.
func TestSchedulerRights(t *testing.T) {
	t.Parallel()
	const enabled = "controlPlane: {advanced: {virtualScheduler: {enabled: true, hostUsage: "
	for name, test := range map[string]struct {
		values string
		want   bool
	}{
		"default":    {"", false},
		"enabled":    {"controlPlane: {advanced: {virtualScheduler: {enabled: true}}}", true},
		"usage":      {enabled + "true}}}", true},
		"no usage":   {enabled + "false}}}", false},
		"usage only": {"controlPlane: {advanced: {virtualScheduler: {hostUsage: true}}}", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for path, text := range mustRender(t, loadChart(t), test.values).text {
				if strings.HasSuffix(path, "/clusterrole.yaml") && strings.Contains(text, `"pods"`) != test.want {
					t.Errorf("the cluster role reads pods: %v\n%s", !test.want, text)
				}
			}
		})
	}
}
