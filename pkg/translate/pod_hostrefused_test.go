package translate

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestHostRefused writes what the tenant reads of a refused pod. A text whose numbers change all
// the time must not become a write each time.
func TestHostRefused(t *testing.T) {
	t.Parallel()
	start := metav1.NewTime(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	after := func(d time.Duration) metav1.Time { return metav1.NewTime(start.Add(d)) }
	condition := func(message string, at metav1.Time) corev1.PodCondition {
		return corev1.PodCondition{
			Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: HostRefused, Message: message,
			LastTransitionTime: at, ObservedGeneration: 1,
		}
	}
	for _, c := range []struct {
		reason string
		before []corev1.PodCondition
		text   string
		at     metav1.Time
		want   []corev1.PodCondition
	}{
		{"the first refusal", nil, "used: pods=3", start, []corev1.PodCondition{condition("used: pods=3", start)}},
		{
			"it replaces the condition of a scheduler",
			[]corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable"}},
			"used: pods=3", start, []corev1.PodCondition{condition("used: pods=3", start)},
		},
		{
			"the same again",
			[]corev1.PodCondition{condition("used: pods=3", start)}, "used: pods=3", after(time.Hour),
			[]corev1.PodCondition{condition("used: pods=3", start)},
		},
		{
			"other numbers too soon",
			[]corev1.PodCondition{condition("used: pods=3", start)}, "used: pods=4", after(59 * time.Second),
			[]corev1.PodCondition{condition("used: pods=3", start)},
		},
		{
			"other numbers after a minute",
			[]corev1.PodCondition{condition("used: pods=3", start)}, "used: pods=4", after(time.Minute),
			[]corev1.PodCondition{condition("used: pods=4", after(time.Minute))},
		},
	} {
		pod := webPod(func(p *corev1.Pod) { p.Status.Conditions = c.before })
		SetHostRefused(pod, corev1.PodCondition{Message: c.text, LastTransitionTime: c.at})
		if diff := cmp.Diff(c.want, pod.Status.Conditions); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.reason, diff)
		}
	}
}
