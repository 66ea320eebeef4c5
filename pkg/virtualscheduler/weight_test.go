package virtualscheduler

import (
	"testing"

	"k8s.io/kubernetes/pkg/scheduler/apis/config/latest"
)

// TestScoreOutweighsOthers checks that no other plugin takes a pod back to a node that the host
// has refused, or away from its volume after that.
func TestScoreOutweighsOthers(t *testing.T) {
	t.Parallel()
	config, err := latest.Default()
	if err != nil {
		t.Fatal(err)
	}
	var others int32
	for _, plugin := range config.Profiles[0].Plugins.MultiPoint.Enabled {
		others += max(plugin.Weight, 1) // Without a weight it has one, if it scores at all.
	}
	if scoreWeight <= 4*others {
		t.Errorf("a quarter of %d is not more than %d, the weight of all others", scoreWeight, others)
	}
}
