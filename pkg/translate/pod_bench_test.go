package translate

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// BenchmarkPod measures what a pod costs in translation: once when it is created,
// and at each of its events afterwards.
func BenchmarkPod(b *testing.B) {
	in, virtual := input(), webPod(func(pod *corev1.Pod) {
		pod.Spec.Volumes = everything().Spec.Volumes[15:]
		pod.Spec.Containers[0].Resources.Requests = quantities("cpu", "100m", "memory", "64Mi")
	})
	host := stamped(virtual)
	if err := Pod(in, virtual, host); err != nil {
		b.Fatal(err)
	}
	b.Run("New", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := Pod(in, virtual, stamped(virtual)); err != nil {
				b.Fatal(err)
			}
		}
	})
	host.UID = "host-uid"
	b.Run("Unchanged", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := Pod(in, virtual, host); err != nil {
				b.Fatal(err)
			}
		}
	})
	host.Status.Conditions = []corev1.PodCondition{condition(corev1.PodScheduled, corev1.ConditionTrue), condition(corev1.PodReady, corev1.ConditionTrue)}
	host.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "web", Ready: true}}
	b.Run("Status", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			PodStatus(shop, host, virtual)
		}
	})
}
