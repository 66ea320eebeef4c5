package nodes

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
)

// TestLabelWarnings checks that a label which no scheduler uses is not taken in silence.
func TestLabelWarnings(t *testing.T) {
	t.Parallel()
	back := v1alpha1.Nodes{
		SyncBackChanges: true, SyncBackFields: []v1alpha1.NodeField{v1alpha1.NodeLabels}, SyncBackLabels: []string{"disk"},
	}
	for name, tc := range map[string]struct {
		reason        string
		rules         Rules
		before, after map[string]string
		wanted        string // part of the only warning; empty means none
		toHost        bool
	}{
		"SchedulerOfTheHost": {
			reason: "the host's scheduler does not know the label",
			after:  map[string]string{"disk": "ssd"}, wanted: schedulerSetting,
		},
		"Changed": {
			reason: "another value has no more effect",
			before: map[string]string{"disk": "hdd"}, after: map[string]string{"disk": "ssd"}, wanted: "the label disk has no effect on scheduling",
		},
		"Removed": {
			reason: "nothing selects a label that goes", before: map[string]string{"disk": "ssd"},
		},
		"Unchanged": {
			reason: "who updates something else is not told again",
			before: map[string]string{"disk": "ssd"}, after: map[string]string{"disk": "ssd"},
		},
		"VirtualScheduler": {
			reason: "the virtual scheduler uses it", rules: Rules{VirtualScheduler: true}, after: map[string]string{"disk": "ssd"},
		},
		"ToTheHost": {
			reason: "the host's node gets it", rules: Rules{Nodes: back}, after: map[string]string{"disk": "ssd"}, toHost: true,
		},
		"NotToTheHost": {
			reason: "the operator passes other labels", rules: Rules{Nodes: back}, after: map[string]string{"rack": "1"}, wanted: syncBackLabelsSetting,
		},
		"OtherFieldsToTheHost": {
			reason: "the operator passes other fields",
			rules:  Rules{Nodes: v1alpha1.Nodes{SyncBackChanges: true}}, after: map[string]string{"disk": "ssd"}, wanted: "labels in " + syncBackFieldsSetting,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before, after := &corev1.Node{}, &corev1.Node{}
			before.Labels, after.Labels = tc.before, tc.after
			d := tc.rules.Decide(before, after)
			text := strings.Join(d.Warnings, "\n")
			if len(d.Denials) > 0 || (text == "") != (tc.wanted == "") || !strings.Contains(text, tc.wanted) || len(d.Warnings) > 1 {
				t.Errorf("%s: denied %q, warned %q, want a warning with %q", tc.reason, d.Denials, d.Warnings, tc.wanted)
			}
			if _, passed := d.ToHost.labels["disk"]; passed != tc.toHost {
				t.Errorf("%s: passed to the host: %t", tc.reason, passed)
			}
		})
	}
}
