package scheduler

import (
	"context"
	"errors"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/api/labels"
)

// TestHostScheduler leaves some pods to a scheduler of the host.
func TestHostScheduler(t *testing.T) {
	t.Parallel()
	host := newHost(t, 2)
	s := openWith(t, host, "hybrid", map[string]any{
		"controlPlane": map[string]any{"advanced": map[string]any{"virtualScheduler": map[string]any{"enabled": true}}},
		"sync":         map[string]any{"toHost": map[string]any{"pods": map[string]any{"hybridScheduling": map[string]any{"hostSchedulers": []any{"batch"}}}}},
	})
	pod := newPod("left")
	pod.Spec.SchedulerName = "batch"
	s.create(t, pod)
	var copied corev1.Pod
	eventually(t, "the host pod waits for the scheduler that it names", func(ctx context.Context) error {
		list, err := host.Client().CoreV1().Pods(s.name).List(ctx, metav1.ListOptions{LabelSelector: labels.Cluster})
		if err != nil || len(list.Items) != 1 {
			return fmt.Errorf("%d host pods, %w", len(list.Items), err)
		}
		copied = list.Items[0]
		return nil
	})
	if copied.Spec.SchedulerName != "batch" || copied.Spec.Affinity != nil {
		t.Errorf("the host pod has scheduler %s, affinity %v", copied.Spec.SchedulerName, copied.Spec.Affinity)
	}
	binding := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: copied.Name}, Target: corev1.ObjectReference{Kind: "Node", Name: host.Nodes()[1]}}
	if err := host.Client().CoreV1().Pods(s.name).Bind(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := s.running(t, "left"); got.Spec.NodeName != host.Nodes()[1] {
		t.Errorf("on %s, want %s", got.Spec.NodeName, host.Nodes()[1])
	}
}

// TestHostUsage shows what others leave of a node, and follows it.
func TestHostUsage(t *testing.T) {
	t.Parallel()
	host := newHost(t, 1)
	s := open(t, host, "usage", nil)
	offered := func(name corev1.ResourceName, want string) {
		t.Helper()
		eventually(t, fmt.Sprintf("the node offers %s of %s", want, name), func(ctx context.Context) error {
			node, err := s.client.CoreV1().Nodes().Get(ctx, host.Nodes()[0], metav1.GetOptions{})
			if got := node.Status.Allocatable[name]; err == nil && got.Cmp(resource.MustParse(want)) != 0 {
				err = fmt.Errorf("it offers %s", got.String())
			}
			return err
		})
	}
	offered(gpu, "2")
	s.create(t, newPod("mine", "cpu", "1"))
	s.running(t, "mine")
	others := host.Client().CoreV1().Pods(metav1.NamespaceDefault)
	for _, pod := range []*corev1.Pod{newPod("foreign", "cpu", "1500m", string(gpu), "1"), newPod("other", "cpu", "7")} {
		if pod.Name == "other" {
			pod.Spec.NodeName = host.Nodes()[0] // past the scheduler: more than there is
		}
		if _, err := others.Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		// With both at once, the second could leave no room for the first.
		eventually(t, pod.Name+" is bound", func(ctx context.Context) error {
			found, err := others.Get(ctx, pod.Name, metav1.GetOptions{})
			if err == nil && found.Spec.NodeName == "" {
				err = errors.New("it has no node")
			}
			return err
		})
	}
	offered(gpu, "1")
	offered(corev1.ResourcePods, "108")
	offered(corev1.ResourceCPU, "0")
	for _, name := range []string{"foreign", "other"} {
		if err := others.Delete(t.Context(), name, metav1.DeleteOptions{GracePeriodSeconds: new(int64)}); err != nil {
			t.Fatal(err)
		}
	}
	offered(corev1.ResourceCPU, "8")
	offered(gpu, "2")
}
