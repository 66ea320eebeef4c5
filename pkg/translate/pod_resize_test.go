package translate

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/sublet-dev/sublet/api/labels"
)

// TestRefusedResize shows in a pod that the host refuses its resize, until it is made or taken back.
func TestRefusedResize(t *testing.T) {
	t.Parallel()
	requests := func(cpu string) *corev1.Pod {
		pod := &corev1.Pod{Spec: corev1.PodSpec{NodeName: "node-1", Containers: []corev1.Container{{Name: "web", Image: "nginx"}}}}
		pod.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}
		return pod
	}
	hostWith := func(cpu string) *corev1.Pod {
		host := requests(cpu)
		text, err := EncodeLastApplied(digestRequests(host))
		if err != nil {
			t.Fatal(err)
		}
		host.Annotations = map[string]string{labels.LastApplied: text}
		return host
	}
	reasonOf := func(pod *corev1.Pod) string {
		if pending := findCondition(pod.Status.Conditions, corev1.PodResizePending); pending != nil {
			return pending.Reason
		}
		return ""
	}
	start := time.Unix(1000, 0)
	for message, want := range map[string]string{
		"pods \"web\" is forbidden: exceeded quota: compute, requested: cpu=2": corev1.PodReasonDeferred,
		"pods \"web\" is forbidden: maximum cpu usage per Container is 1":      corev1.PodReasonInfeasible,
	} {
		virtual, host := requests("2"), hostWith("1")
		virtual.Generation = 2
		SetRefusedResize(virtual, host, message, start)
		if got := reasonOf(virtual); got != want {
			t.Errorf("%s: got reason %q, want %q", message, got, want)
		}
		shown := virtual.DeepCopy()
		PodStatus(Cluster{}, host, virtual)
		if diff := cmp.Diff(shown.Status.Conditions, virtual.Status.Conditions); diff != "" {
			t.Errorf("a status of the host must keep it (-want +got):\n%s", diff)
		}
		SetRefusedResize(virtual, host, message+", used: 3", start.Add(time.Second))
		if diff := cmp.Diff(shown.Status.Conditions, virtual.Status.Conditions); diff != "" {
			t.Errorf("each attempt would write the pod (-want +got):\n%s", diff)
		}
		taken := virtual.DeepCopy()
		PodStatus(Cluster{}, hostWith("2"), taken)
		if reasonOf(taken) != "" {
			t.Error("the host has taken the resize")
		}
		virtual.Spec = requests("1").Spec
		PodStatus(Cluster{}, host, virtual)
		if reasonOf(virtual) != "" {
			t.Error("the tenant has taken the resize back")
		}
	}
	finished := hostWith("2")
	finished.Status.Phase = corev1.PodSucceeded
	virtual := requests("3")
	PodStatus(Cluster{}, finished, virtual)
	SetRefusedResize(virtual, finished, "maximum cpu usage", start)
	if reasonOf(virtual) != "" {
		t.Error("a finished pod does not keep the condition, so it would be set and removed for ever")
	}
	virtual, host := requests("3"), hostWith("2")
	host.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodResizePending, Status: corev1.ConditionTrue, Reason: corev1.PodReasonDeferred}}
	PodStatus(Cluster{}, host, virtual)
	SetRefusedResize(virtual, host, "maximum cpu usage", start)
	if reasonOf(virtual) != corev1.PodReasonDeferred {
		t.Error("the kubelet writes the condition of a resize that it defers itself")
	}
}
