package v1alpha1_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
)

func TestParseToleration(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		reason, text string
		want         corev1.Toleration
	}{
		{"a key tolerates all of its taints", "team", corev1.Toleration{Key: "team", Operator: corev1.TolerationOpExists}},
		{"a value is compared", "team=shop", corev1.Toleration{Key: "team", Operator: corev1.TolerationOpEqual, Value: "shop"}},
		{
			"an effect is compared", "example.com/team:NoExecute",
			corev1.Toleration{Key: "example.com/team", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute},
		},
		{
			"all of a taint is compared", "team=shop:NoSchedule",
			corev1.Toleration{Key: "team", Operator: corev1.TolerationOpEqual, Value: "shop", Effect: corev1.TaintEffectNoSchedule},
		},
	} {
		if diff := cmp.Diff(c.want, v1alpha1.ParseToleration(c.text)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.reason, diff)
		}
	}
}
