package translate

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/api/labels"
)

func TestSyncReadinessGate(t *testing.T) {
	t.Parallel()
	at := func(minute int) metav1.Time { return metav1.NewTime(time.Date(2026, 1, 2, 3, minute, 0, 0, time.UTC)) }
	is := func(name corev1.PodConditionType, status corev1.ConditionStatus, minute int) corev1.PodCondition {
		return corev1.PodCondition{Type: name, Status: status, LastTransitionTime: at(minute)}
	}
	const a, b, ours = "example.com/a", "example.com/b", labels.ReadinessGates
	kubelets := is(corev1.PodReady, corev1.ConditionFalse, 1)
	for _, test := range []struct {
		name, reason  string
		old           bool
		virtual, host []corev1.PodCondition
		want          []corev1.PodCondition
	}{
		{name: "one of two", reason: "a gate without a condition is closed, and needs no write", virtual: []corev1.PodCondition{is(a, corev1.ConditionTrue, 2)},
			host: []corev1.PodCondition{kubelets}, want: []corev1.PodCondition{kubelets}},
		{name: "open", reason: "since the last one has opened", virtual: []corev1.PodCondition{is(a, corev1.ConditionTrue, 3), is(b, corev1.ConditionTrue, 2)},
			host: []corev1.PodCondition{kubelets}, want: []corev1.PodCondition{kubelets, is(ours, corev1.ConditionTrue, 3)}},
		{name: "still open", reason: "the time alone is no change", virtual: []corev1.PodCondition{is(a, corev1.ConditionTrue, 4), is(b, corev1.ConditionTrue, 2)},
			host: []corev1.PodCondition{is(ours, corev1.ConditionTrue, 3)}, want: []corev1.PodCondition{is(ours, corev1.ConditionTrue, 3)}},
		{name: "closed again", reason: "the pod must leave its Services", virtual: []corev1.PodCondition{is(a, corev1.ConditionUnknown, 5), is(b, corev1.ConditionTrue, 2)},
			host: []corev1.PodCondition{is(ours, corev1.ConditionTrue, 3), kubelets}, want: []corev1.PodCondition{is(ours, corev1.ConditionFalse, 5), kubelets}},
		{name: "condition removed", reason: "without one, the gate is closed", virtual: []corev1.PodCondition{is(b, corev1.ConditionTrue, 2)},
			host: []corev1.PodCondition{is(ours, corev1.ConditionTrue, 3)}, want: []corev1.PodCondition{is(ours, corev1.ConditionFalse, 2)}},
		{name: "older host pod", reason: "it was created without the gate", old: true, virtual: []corev1.PodCondition{is(a, corev1.ConditionTrue, 3), is(b, corev1.ConditionTrue, 2)},
			host: []corev1.PodCondition{kubelets}, want: []corev1.PodCondition{kubelets}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			virtual := webPod(func(pod *corev1.Pod) {
				pod.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: a}, {ConditionType: b}}
			})
			host := created(t, input(), virtual)
			if diff := cmp.Diff([]corev1.PodReadinessGate{{ConditionType: ours}}, host.Spec.ReadinessGates); diff != "" {
				t.Errorf("gates of the host pod (-want +got):\n%s", diff)
			}
			if test.old {
				host.Spec.ReadinessGates = nil
			}
			virtual.Status.Conditions, host.Status.Conditions = test.virtual, test.host
			if err := Pod(input(), virtual, host); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, host.Status.Conditions); diff != "" {
				t.Errorf("%s (-want +got):\n%s", test.reason, diff)
			}
		})
	}
}
