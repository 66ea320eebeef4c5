package scheduler

import (
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/api/labels"
)

func TestBindsWhereTheHostBound(t *testing.T) {
	t.Parallel()
	host := newHost(t, 3)
	s := open(t, host, "plain", nil)
	s.awaitOpen(t)
	s.create(t, newPod("one", "cpu", "1"))
	pod := s.running(t, "one")
	hosts, err := host.Client().CoreV1().Pods(s.name).List(t.Context(), metav1.ListOptions{LabelSelector: labels.Cluster})
	if err != nil || len(hosts.Items) != 1 {
		t.Fatalf("%d host pods, %v", len(hosts.Items), err)
	}
	copied := hosts.Items[0]
	if copied.Spec.NodeName != pod.Spec.NodeName {
		t.Errorf("on %s, its host pod on %s", pod.Spec.NodeName, copied.Spec.NodeName)
	}
	terms := copied.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
	if len(terms) != 1 || len(terms[0].MatchFields) != 1 || terms[0].MatchFields[0].Values[0] != pod.Spec.NodeName {
		t.Errorf("the host pod is held to %v", terms)
	}
	events, err := s.client.CoreV1().Events(metav1.NamespaceDefault).List(t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.name=one"})
	if err != nil {
		t.Fatal(err)
	}
	for _, event := range events.Items {
		if event.Reason == "FailedScheduling" {
			t.Errorf("an event says %s", event.Message)
		}
	}
	eventually(t, "one is nominated for no node", func(ctx context.Context) error {
		pod, err := s.get(ctx, "one")
		if err == nil && pod.Status.NominatedNodeName != "" {
			err = fmt.Errorf("it is for %s", pod.Status.NominatedNodeName)
		}
		return err
	})
}

func TestHostRefuses(t *testing.T) {
	t.Parallel()
	host := newHost(t, 3)
	// Without the sums, only the host knows that two of the three nodes are full.
	s := open(t, host, "refused", map[string]any{"hostUsage": false})
	for _, node := range host.Nodes()[:2] {
		filler := newPod("filler-"+node, "cpu", "8")
		filler.Spec.NodeName = node
		filler.Namespace = metav1.NamespaceDefault
		if _, err := host.Client().CoreV1().Pods(metav1.NamespaceDefault).Create(t.Context(), filler, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 4 {
		s.create(t, newPod(fmt.Sprintf("web-%d", i), "cpu", "2"))
	}
	for i := range 4 {
		if pod := s.running(t, fmt.Sprintf("web-%d", i)); pod.Spec.NodeName != host.Nodes()[2] {
			t.Errorf("%s is on %s, which is full", pod.Name, pod.Spec.NodeName)
		}
	}
	s.create(t, newPod("too-many", "cpu", "2"))
	eventually(t, "the tenant reads the host's reason", func(ctx context.Context) error {
		pod, err := s.get(ctx, "too-many")
		if err != nil {
			return err
		}
		for _, condition := range pod.Status.Conditions {
			if condition.Type == corev1.PodScheduled && condition.Reason == corev1.PodReasonUnschedulable && strings.Contains(condition.Message, "Insufficient cpu") {
				return nil
			}
		}
		return fmt.Errorf("%v", pod.Status.Conditions)
	})
	eventually(t, "an event tells the host's reason", func(ctx context.Context) error {
		events, err := s.client.CoreV1().Events(metav1.NamespaceDefault).List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=too-many"})
		if err != nil {
			return err
		}
		for _, event := range events.Items {
			if event.Reason == "FailedScheduling" && strings.Contains(event.Message, "Insufficient cpu") {
				return nil
			}
		}
		return fmt.Errorf("%d other events", len(events.Items))
	})
	if err := s.client.CoreV1().Pods(metav1.NamespaceDefault).Delete(t.Context(), "web-0", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	s.running(t, "too-many")
}
