package policy_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/policy"
)

// BenchmarkEvaluate measures what the policies cost for an ordinary pod.
func BenchmarkEvaluate(b *testing.B) {
	rules := policy.NewPods(v1alpha1.Default().Policies, policy.PodOptions{})
	pod := &corev1.Pod{Spec: corev1.PodSpec{
		Containers: []corev1.Container{{Name: "web", Image: "nginx"}, {Name: "mesh", Image: "mesh"}},
		Volumes:    []corev1.Volume{{Name: "a", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}},
		Tolerations: []corev1.Toleration{
			{Key: corev1.TaintNodeNotReady, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: new(int64(300))},
			{Key: corev1.TaintNodeUnreachable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: new(int64(300))},
		},
	}}
	b.ReportAllocs()
	for b.Loop() {
		if violations := rules.Evaluate(&pod.ObjectMeta, &pod.Spec); len(violations) > 0 {
			b.Fatal(violations)
		}
	}
}
