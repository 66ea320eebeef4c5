package translate

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/sublet-dev/sublet/api/labels"
)

// TestHostConditionsGo checks that a condition of the host goes with the host's, and one of
// the tenant stays.
func TestHostConditionsGo(t *testing.T) {
	t.Parallel()
	const hosts, gate = corev1.PodConditionType("host.example.com/checked"), corev1.PodConditionType("example.com/gate")
	ready, mine := condition(corev1.PodReady, corev1.ConditionTrue), condition("example.com/mine", corev1.ConditionTrue)
	checked := condition(hosts, corev1.ConditionTrue)
	tests := map[string]struct {
		reason        string
		record        string
		host, virtual []corev1.PodCondition
		want          []corev1.PodCondition
		wantRecord    string
	}{
		"Comes": {
			reason: "what the host adds is shown, and recorded as the host's",
			host:   []corev1.PodCondition{ready, checked}, virtual: []corev1.PodCondition{ready, mine},
			want: []corev1.PodCondition{ready, checked, mine}, wantRecord: string(hosts),
		},
		"Stays": {
			reason: "nothing is written while nothing changes",
			record: string(hosts),
			host:   []corev1.PodCondition{ready, checked}, virtual: []corev1.PodCondition{ready, checked, mine},
			want: []corev1.PodCondition{ready, checked, mine}, wantRecord: string(hosts),
		},
		"Goes": {
			reason: "it goes, and the record stays until it is gone: the write of the status may fail",
			record: string(hosts),
			host:   []corev1.PodCondition{ready}, virtual: []corev1.PodCondition{ready, checked, mine},
			want: []corev1.PodCondition{ready, mine}, wantRecord: string(hosts),
		},
		"Gone": {
			reason: "then the record goes",
			record: string(hosts),
			host:   []corev1.PodCondition{ready}, virtual: []corev1.PodCondition{ready, mine},
			want: []corev1.PodCondition{ready, mine},
		},
		"AllGo": {
			reason:  "a host pod without conditions leaves those of the tenant alone",
			record:  "a.example.com/x," + string(hosts),
			virtual: []corev1.PodCondition{ready, checked, mine, condition("a.example.com/x", corev1.ConditionTrue)},
			want:    []corev1.PodCondition{mine}, wantRecord: "a.example.com/x," + string(hosts),
		},
		"Gates": {
			reason:  "the gates of either side are no conditions of the host",
			host:    []corev1.PodCondition{ready, condition(gate, corev1.ConditionTrue), condition(labels.ReadinessGates, corev1.ConditionTrue)},
			virtual: []corev1.PodCondition{condition(gate, corev1.ConditionTrue)},
			want:    []corev1.PodCondition{ready, condition(gate, corev1.ConditionTrue)},
		},
		"Disrupted": {
			reason: "a disruption may be told by either cluster, and ends the pod",
			host:   []corev1.PodCondition{ready, condition(corev1.DisruptionTarget, corev1.ConditionTrue)},
			want:   []corev1.PodCondition{ready, condition(corev1.DisruptionTarget, corev1.ConditionTrue)},
		},
		"Forged": {
			reason: "a tenant who writes the record loses a condition of their own, until it is written again",
			record: "example.com/mine",
			host:   []corev1.PodCondition{ready}, virtual: []corev1.PodCondition{ready, mine},
			want: []corev1.PodCondition{ready}, wantRecord: "example.com/mine",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			virtual := webPod(func(pod *corev1.Pod) {
				pod.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: gate}}
				if name != "Gates" {
					pod.Spec.ReadinessGates = nil
				}
			})
			host := created(t, input(), virtual)
			virtual.Status.Conditions, host.Status.Conditions = tt.virtual, tt.host
			if tt.record != "" {
				virtual.Annotations = map[string]string{labels.HostConditions: tt.record}
			}
			PodStatus(shop, host, virtual)
			if diff := cmp.Diff(tt.want, virtual.Status.Conditions); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tt.reason, diff)
			}
			if got := virtual.Annotations[labels.HostConditions]; got != tt.wantRecord {
				t.Errorf("%s: the record is %q, want %q", tt.reason, got, tt.wantRecord)
			}
		})
	}
}
