package v1alpha1_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
)

func TestCopyCounts(t *testing.T) {
	t.Parallel()
	list := func(pairs ...string) corev1.ResourceList {
		all := corev1.ResourceList{}
		for i := 0; i < len(pairs); i += 2 {
			all[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
		}
		return all
	}
	for _, c := range []struct {
		reason       string
		count, quota corev1.ResourceList
		enabled      v1alpha1.Switch
		want         map[string]int64
	}{
		{
			"without a quota the settings count",
			list("others", "10"), list("count/secrets", "5"), v1alpha1.SwitchOff, map[string]int64{"others": 10},
		},
		{
			"below the quota there is room for helm's Secrets",
			list("secrets", "500"), list("count/secrets", "100"), v1alpha1.SwitchAuto, map[string]int64{"secrets": 68},
		},
		{
			"a resource without a limit has that of the quota",
			list("secrets", "0"), list("count/secrets", "100"), v1alpha1.SwitchOn, map[string]int64{"secrets": 68},
		},
		{
			"a small quota is shared by halves",
			list("others", "500"), list("configmaps", "4"), v1alpha1.SwitchOn, map[string]int64{"others": 500, "configmaps": 2},
		},
		{
			"count/pods counts finished pods too, and is not for the host",
			list("others", "500"), list("pods", "5", "count/pods", "20"), v1alpha1.SwitchOn, map[string]int64{"others": 500, "pods": 20},
		},
		{
			"a quota with enough room changes nothing",
			list("configmaps", "10"), list("count/configmaps", "100"), v1alpha1.SwitchOn, map[string]int64{"configmaps": 10},
		},
	} {
		policies := v1alpha1.Default().Policies
		policies.Objects.Count, policies.ResourceQuota.Quota, policies.ResourceQuota.Enabled = c.count, c.quota, c.enabled
		if diff := cmp.Diff(c.want, policies.CopyCounts()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.reason, diff)
		}
	}
}

// TestDefaultLimitsLeaveRoom checks that the limits of copies are below the quota, so that
// the release keeps its room.
func TestDefaultLimitsLeaveRoom(t *testing.T) {
	t.Parallel()
	policies := v1alpha1.Default().Policies
	for name, count := range policies.CopyCounts() {
		if hard, found := policies.ResourceQuota.Quota[corev1.ResourceName("count/"+name)]; found && hard.Value() <= count {
			t.Errorf("the tenant may have %d of %s, all of the quota", count, name)
		}
	}
}
