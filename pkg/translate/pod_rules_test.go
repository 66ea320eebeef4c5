package translate

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestHostRules(t *testing.T) {
	t.Parallel()
	priority := int32(5)
	virtual := webPod(func(pod *corev1.Pod) { pod.Spec.SchedulerName, pod.Spec.Priority = "volcano", &priority })
	none := HostRules(virtual, nil, []string{"other"}, Enforced{})
	if none != "" {
		t.Errorf("nothing is said about the pod, got %q", none)
	}
	seen := map[string]string{"": "nothing"}
	for reason, rules := range map[string]string{
		"nodes":          HostRules(virtual, map[string]string{"pool": "a"}, nil, Enforced{}),
		"other nodes":    HostRules(virtual, map[string]string{"pool": "b"}, nil, Enforced{}),
		"scheduler":      HostRules(virtual, nil, []string{"volcano"}, Enforced{}),
		"tolerations":    HostRules(virtual, nil, nil, Enforced{Tolerations: []corev1.Toleration{{Key: "team"}}}),
		"runtime class":  HostRules(virtual, nil, nil, Enforced{RuntimeClassName: "gvisor"}),
		"priority class": HostRules(virtual, nil, nil, Enforced{PriorityClassName: "tenants"}),
		"lowest class":   HostRules(virtual, nil, nil, Enforced{PriorityClasses: []PriorityClass{{From: 10, Name: "high"}}}),
		"mapped class":   HostRules(virtual, nil, nil, Enforced{PriorityClasses: []PriorityClass{{From: 0, Name: "low"}}}),
	} {
		if other, ok := seen[rules]; ok {
			t.Errorf("%s and %s are the same: %q", reason, other, rules)
		}
		seen[rules] = reason
	}
}
