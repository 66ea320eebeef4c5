package scheduler

import (
	"context"
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/api/labels"
)

// TestHostSeesTheNeedForANode checks that an autoscaler of the host learns of a pod that fits on
// no virtual node. Nothing binds it meanwhile, and it runs once there is a node.
func TestHostSeesTheNeedForANode(t *testing.T) {
	t.Parallel()
	host := newHost(t, 2)
	s := open(t, host, "growing", nil)
	for _, node := range host.Nodes() {
		s.patchNode(t, node, `{"spec":{"unschedulable":true}}`)
		s.awaitClosed(t, node)
	}
	s.clear(t) // The host may still have the probes.
	s.create(t, newPod("waiting", "cpu", "1"))
	eventually(t, "the host has an unschedulable pod", func(ctx context.Context) error {
		pods, err := s.ours(ctx)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(pods, isUnschedulablePod) {
			return fmt.Errorf("%d host pods, none of them unschedulable", len(pods))
		}
		return nil
	})
	pods, err := s.ours(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i := range pods {
		if pods[i].Spec.NodeName != "" {
			t.Errorf("the host has bound %s to %s, which the tenant has cordoned", pods[i].Annotations[labels.VirtualName], pods[i].Spec.NodeName)
		}
	}
	s.patchNode(t, host.Nodes()[0], `{"spec":{"unschedulable":false}}`)
	if pod := s.running(t, "waiting"); pod.Spec.NodeName != host.Nodes()[0] {
		t.Errorf("it runs on %s, which is cordoned", pod.Spec.NodeName)
	}
	s.patchNode(t, host.Nodes()[0], `{"spec":{"unschedulable":true}}`)
	s.awaitClosed(t, host.Nodes()[0])
	s.create(t, newPod("given-up", "cpu", "1"))
	eventually(t, "the host has an unschedulable pod again", func(ctx context.Context) error {
		pods, err := s.ours(ctx)
		if err == nil && !slices.ContainsFunc(pods, func(pod corev1.Pod) bool {
			return pod.Annotations[labels.VirtualName] == "given-up" && isUnschedulablePod(pod)
		}) {
			err = fmt.Errorf("%d host pods", len(pods))
		}
		return err
	})
	if err := s.client.CoreV1().Pods(metav1.NamespaceDefault).Delete(t.Context(), "given-up", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "nothing is left of it", func(ctx context.Context) error {
		pods, err := s.ours(ctx)
		if err == nil && len(pods) != 1 {
			err = fmt.Errorf("%d host pods, want 1", len(pods))
		}
		return err
	})
}

// isUnschedulablePod reports whether an autoscaler would add a node for a host pod.
func isUnschedulablePod(pod corev1.Pod) bool {
	return pod.Spec.NodeName == "" && slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable
	})
}
