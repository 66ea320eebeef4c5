package controlplane

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestResizeOnPseudoNode resizes pods on a node that is smaller than they are. Its host node may be larger.
func TestResizeOnPseudoNode(t *testing.T) {
	t.Parallel()
	p := startPlane(t, Config{Controllers: DefaultControllers(), PseudoNodes: true})
	ctx, pods := t.Context(), p.client.CoreV1().Pods("default")
	small := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("16"), corev1.ResourceMemory: resource.MustParse("32Gi")}
	node, err := p.client.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-1"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	node.Status.Capacity, node.Status.Allocatable = small, small
	if _, err := p.client.CoreV1().Nodes().UpdateStatus(ctx, node, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	cpu := func(count string) corev1.ResourceRequirements {
		return corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(count)}}
	}
	for name, set := range map[string]func(*corev1.PodSpec, corev1.ResourceRequirements){
		"container": func(s *corev1.PodSpec, r corev1.ResourceRequirements) { s.Containers[0].Resources = r },
		"pod":       func(s *corev1.PodSpec, r corev1.ResourceRequirements) { s.Resources = &r },
	} {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{
			NodeName: "node-1", Containers: []corev1.Container{{Name: "c", Image: "i"}},
		}}
		set(&pod.Spec, cpu("20"))
		eventually(t, "a pod, once there is an account", func(ctx context.Context) string {
			if _, err := pods.Create(ctx, pod, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
				return err.Error()
			}
			return ""
		})
		stored, err := pods.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		set(&stored.Spec, cpu("18"))
		if _, err := pods.UpdateResize(ctx, name, stored, metav1.UpdateOptions{}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
