package policy

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
)

// TestHugeQuantities checks that no quantity reaches the host with which its API server would compute for hours.
func TestHugeQuantities(t *testing.T) {
	t.Parallel()
	list := func(text string) corev1.ResourceList {
		return corev1.ResourceList{"cpu": resource.MustParse("1"), "memory": resource.MustParse(text)}
	}
	pod := func(memory string) *corev1.PodSpec {
		size := resource.MustParse(memory)
		return &corev1.PodSpec{
			Resources:  &corev1.ResourceRequirements{Limits: list(memory)},
			Containers: []corev1.Container{{Name: "a"}, {Name: "b", Resources: corev1.ResourceRequirements{Requests: list(memory)}}},
			Volumes: []corev1.Volume{{VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: &size}}}, {
				VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{VolumeClaimTemplate: &corev1.PersistentVolumeClaimTemplate{
					Spec: corev1.PersistentVolumeClaimSpec{Resources: corev1.VolumeResourceRequirements{Requests: list(memory)}},
				}}},
			}},
		}
	}
	want := []string{
		"spec.containers[1].resources.requests[memory]", "spec.resources.limits[memory]", "spec.volumes[0].emptyDir.sizeLimit",
		"spec.volumes[1].ephemeral.volumeClaimTemplate.spec.resources.requests[memory]",
	}
	rules := NewPods(v1alpha1.Policies{}, PodOptions{})
	for text, denied := range map[string]bool{
		"1e2000000000": true, "-1e2000000000": true, "1e31": true, "1234567890123456789012345e20": true,
		"1e30": false, "8Ei": false, "1e-9": false, "0": false, "-1": false,
	} {
		var fields []string
		for _, violation := range rules.Evaluate(&metav1.ObjectMeta{}, pod(text)) {
			if violation.Detail == "no host computes with such a number; must be at most 1e30" {
				fields = append(fields, violation.Field)
			}
		}
		slices.Sort(fields)
		if denied && !slices.Equal(fields, want) || !denied && len(fields) > 0 {
			t.Errorf("%s is denied in %v, want %v: %t", text, fields, want, denied)
		}
	}
}
