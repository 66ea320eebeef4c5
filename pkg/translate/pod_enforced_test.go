package translate

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestPriorityClass(t *testing.T) {
	t.Parallel()
	band := []PriorityClass{{-10, "low"}, {0, "normal"}, {1000, "high"}}
	for _, test := range []struct {
		name, reason string
		enforced     Enforced
		priority     *int32
		want         string
		ignored      bool
	}{
		{name: "none", reason: "a pod without a priority has 0", enforced: Enforced{PriorityClasses: band}, want: "normal"},
		{name: "between", reason: "the nearest entry below counts", enforced: Enforced{PriorityClasses: band}, priority: new(int32(999)), want: "normal"},
		{name: "exactly", reason: "an entry is the lowest priority of its class", enforced: Enforced{PriorityClasses: band}, priority: new(int32(1000)), want: "high"},
		{name: "system", reason: "the band has an end", enforced: Enforced{PriorityClasses: band}, priority: new(int32(2000001000)), want: "high"},
		{name: "negative", reason: "it is less than a pod without a priority", enforced: Enforced{PriorityClasses: band}, priority: new(int32(-1)), want: "low"},
		{name: "below", reason: "the default of the host may outrank every class of the band", enforced: Enforced{PriorityClasses: band}, priority: new(int32(-11)), want: "low"},
		{name: "one for all", reason: "it is the operator's word", enforced: Enforced{PriorityClassName: "all", PriorityClasses: band}, priority: new(int32(1000)), want: "all"},
		{name: "named", reason: "a class of the host that the pod names is before the band", enforced: Enforced{NamedClass: "urgent", PriorityClasses: band}, priority: new(int32(1000)), want: "urgent"},
		{name: "named and one for all", reason: "the operator's word counts more", enforced: Enforced{PriorityClassName: "all", NamedClass: "urgent"}, want: "all"},
		{name: "no band", reason: "the priority has no effect", priority: new(int32(1)), ignored: true},
		{name: "no priority, no band", reason: "there is nothing to tell", priority: new(int32(0))},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			pod := &corev1.Pod{Spec: corev1.PodSpec{Priority: test.priority}}
			if got := test.enforced.priorityClass(pod); got != test.want {
				t.Errorf("%s: got %q, want %q", test.reason, got, test.want)
			}
			if got := test.enforced.IgnoresPriority(pod); got != test.ignored {
				t.Errorf("%s: ignored %t, want %t", test.reason, got, test.ignored)
			}
		})
	}
}
