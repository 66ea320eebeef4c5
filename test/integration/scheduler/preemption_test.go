package scheduler

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// preemption makes room inside the virtual cluster.
func preemption(t *testing.T, s *shop) {
	s.fillNodes(t)
	s.preempt(t)
	s.running(t, "high")
	s.keepsAllButOne(t)
}

// slow is a finalizer that keeps a host pod, as a slow kubelet does.
const slow = "example.com/slow"

// TestPreemptsOnePodForOne checks that a pod takes the room of one pod alone, also if that pod takes seconds to
// leave the host.
func TestPreemptsOnePodForOne(t *testing.T) {
	t.Parallel()
	s := open(t, newHost(t, 2), "preempting", nil)
	s.fillNodes(t)
	hosts := s.host.Client().CoreV1().Pods(s.name)
	s.finalize(t, `["`+slow+`"]`)
	begin := time.Now()
	s.preempt(t)
	eventually(t, "the host was asked for some time, or has refused", func(ctx context.Context) error {
		pods, err := hosts.List(ctx, metav1.ListOptions{LabelSelector: labels.Cluster})
		if err != nil {
			return err
		}
		if slices.ContainsFunc(pods.Items, func(pod corev1.Pod) bool {
			return pod.Annotations[labels.VirtualName] == "high" && translate.IsUnschedulable(&pod)
		}) {
			return nil
		}
		high, err := s.get(ctx, "high")
		if err != nil {
			return err
		}
		if i := slices.IndexFunc(high.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodScheduled && c.Reason == translate.WaitingForHost && time.Since(c.LastTransitionTime.Time) > 2*time.Second
		}); i < 0 {
			err = fmt.Errorf("conditions %v", high.Status.Conditions)
		}
		return err
	})
	s.finalize(t, `null`)
	// The syncer waits ten seconds for a pod to leave. Then the host refuses, and another pod may have to go.
	inTime := time.Since(begin) < 10*time.Second
	s.running(t, "high")
	if inTime {
		s.keepsAllButOne(t)
	}
}

// finalize sets the finalizers of the host pods of low, as JSON.
func (s *shop) finalize(t *testing.T, finalizers string) {
	t.Helper()
	hosts := s.host.Client().CoreV1().Pods(s.name)
	pods, err := hosts.List(t.Context(), metav1.ListOptions{LabelSelector: labels.Cluster})
	if err != nil {
		t.Fatal(err)
	}
	patch := []byte(`{"metadata":{"finalizers":` + finalizers + `}}`)
	for i := range pods.Items {
		if !strings.HasPrefix(pods.Items[i].Annotations[labels.VirtualName], "low-") {
			continue // The syncer may delete it at any time.
		}
		if _, err := hosts.Patch(t.Context(), pods.Items[i].Name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

// fillNodes fills each node with a pod of a low priority.
func (s *shop) fillNodes(t *testing.T) {
	t.Helper()
	for name, value := range map[string]int32{"high": 1000, "low": 1} {
		class := &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Value: value}
		if _, err := s.client.SchedulingV1().PriorityClasses().Create(t.Context(), class, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		// Admission reads the classes from a cache, as in any cluster.
		eventually(t, "pods of class "+name+" are admitted", func(ctx context.Context) error {
			pod := newPod("dry-run")
			pod.Spec.PriorityClassName = name
			_, err := s.client.CoreV1().Pods(metav1.NamespaceDefault).Create(ctx, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
			return err
		})
	}
	for i := range s.host.Nodes() {
		pod := newPod(fmt.Sprintf("low-%d", i), "cpu", "6")
		pod.Spec.PriorityClassName = "low"
		s.create(t, pod)
	}
	s.nodesOf(t, len(s.host.Nodes()))
}

// preempt creates the pod high, which fits nowhere.
func (s *shop) preempt(t *testing.T) {
	t.Helper()
	pod := newPod("high", "cpu", "6")
	pod.Spec.PriorityClassName = "high"
	s.create(t, pod)
}

// keepsAllButOne checks that the pod high has taken the room of one pod alone.
func (s *shop) keepsAllButOne(t *testing.T) {
	t.Helper()
	want := len(s.host.Nodes())
	// The pod that was preempted leaves the host before it leaves the virtual cluster.
	eventually(t, "high and all of low but one are left", func(ctx context.Context) error {
		pods, err := s.client.CoreV1().Pods(metav1.NamespaceDefault).List(ctx, metav1.ListOptions{})
		if err == nil && len(pods.Items) != want {
			err = fmt.Errorf("%d pods are left, want %d", len(pods.Items), want)
		}
		return err
	})
	s.nodesOf(t, want)
}
