package integration

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestRefusedResize resizes a pod beyond a limit of the host, and then within it.
func TestRefusedResize(t *testing.T) {
	r := newRelease(t)
	ctx := t.Context()
	limits := &corev1.LimitRange{
		ObjectMeta: metav1.ObjectMeta{Namespace: r.hostKey("web").Namespace, Name: "largest"},
		Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{{
			Type: corev1.LimitTypeContainer, Max: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2")},
		}}},
	}
	if err := r.host.client.Create(ctx, limits); err != nil {
		t.Fatal(err)
	}
	r.startSome(t, r.allKinds(), "pods", "servicelinks")
	cpu := func(amount string) corev1.ResourceRequirements {
		list := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(amount)}
		return corev1.ResourceRequirements{Requests: list, Limits: list}
	}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: "web"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "registry.test/app:1", Resources: cpu("1")}}},
	}
	if err := r.virtual.client.Create(ctx, pod); err != nil {
		t.Fatal(err)
	}
	r.hostPod(t, "web")
	for _, c := range []struct{ amount, reason, host string }{
		{amount: "3", reason: corev1.PodReasonInfeasible, host: "1"},
		{amount: "1500m", host: "1500m"},
		{amount: "4", reason: corev1.PodReasonInfeasible, host: "1500m"},
		{amount: "1500m", host: "1500m"},
	} {
		eventually(t, "a resize to "+c.amount, func(ctx context.Context) error {
			if err := r.virtual.client.Get(ctx, r.virtualKey("web"), pod); err != nil {
				return err
			}
			pod.Spec.Containers[0].Resources = cpu(c.amount)
			return r.virtual.client.SubResource("resize").Update(ctx, pod)
		})
		eventually(t, "what becomes of a resize to "+c.amount, func(ctx context.Context) error {
			var virtual, host corev1.Pod
			if err := r.virtual.client.Get(ctx, r.virtualKey("web"), &virtual); err != nil {
				return err
			}
			if err := r.host.client.Get(ctx, r.hostKey("web"), &host); err != nil {
				return err
			}
			reason, has := pendingResize(&virtual), host.Spec.Containers[0].Resources.Requests.Cpu().String()
			if reason != c.reason || has != c.host {
				return fmt.Errorf("the reason is %q and the host pod has %s", reason, has)
			}
			return nil
		})
	}
	if err := r.host.client.Delete(ctx, limits); err != nil && client.IgnoreNotFound(err) != nil {
		t.Fatal(err)
	}
	r.deletePod(t, pod)
}

// pendingResize returns why the resize of a pod is pending, empty if none is.
func pendingResize(pod *corev1.Pod) string {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodResizePending {
			return condition.Reason
		}
	}
	return ""
}
