package policy_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/policy"
)

// away returns a pod that keeps away from others in the namespaces of a selector.
func away(namespaces *metav1.LabelSelector) corev1.PodSpec {
	return corev1.PodSpec{Affinity: &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{
			TopologyKey: corev1.LabelHostname, LabelSelector: &metav1.LabelSelector{}, NamespaceSelector: namespaces,
		}},
	}}}
}

func TestDroppedFields(t *testing.T) {
	t.Parallel()
	virtual, hybrid, band := v1alpha1.Default(), v1alpha1.Default(), v1alpha1.Default()
	band.Sync.ToHost.Pods.PriorityClasses = map[string]string{"0": "tenant"}
	virtual.ControlPlane.Advanced.VirtualScheduler.Enabled = true
	hybrid.Sync.ToHost.Pods.HybridScheduling.HostSchedulers = []string{"volcano"}
	for _, c := range []struct {
		reason   string
		settings *v1alpha1.Config
		spec     corev1.PodSpec
		want     string
	}{
		{"the default", v1alpha1.Default(), corev1.PodSpec{SchedulerName: "default-scheduler"}, ""},
		{
			"a scheduler that nobody asks", v1alpha1.Default(), corev1.PodSpec{SchedulerName: "volcano"},
			`spec.schedulerName: "volcano": has no effect, because the host schedules the pods. ` +
				"The operator of the host can change this with sync.toHost.pods.hybridScheduling.hostSchedulers.",
		},
		{"a scheduler of the host", hybrid, corev1.PodSpec{SchedulerName: "volcano"}, ""},
		{"a scheduler of the virtual cluster", virtual, corev1.PodSpec{SchedulerName: "volcano", PriorityClassName: "high"}, ""},
		{"a priority that the host knows", band, corev1.PodSpec{PriorityClassName: "high"}, ""},
		{
			"a priority", v1alpha1.Default(), corev1.PodSpec{PriorityClassName: "high"},
			`spec.priorityClassName: "high": has no effect, because the host schedules the pods, without their priorities. ` +
				"The operator of the host can change this with controlPlane.advanced.virtualScheduler.enabled.",
		},
		{
			"namespaces that may match later", v1alpha1.Default(), away(&metav1.LabelSelector{MatchLabels: map[string]string{"team": "a"}}),
			"spec.affinity: a namespaceSelector counts the namespaces that match when a pod is created, and not those that match later. " +
				"The operator of the host can change this with controlPlane.advanced.virtualScheduler.enabled.",
		},
		{"all namespaces", v1alpha1.Default(), away(&metav1.LabelSelector{}), ""},
	} {
		if diff := cmp.Diff(c.want, policy.Message(policy.DroppedFields(c.settings, &c.spec))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.reason, diff)
		}
	}
}
