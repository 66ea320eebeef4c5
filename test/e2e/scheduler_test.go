//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	resourcehelper "k8s.io/component-helpers/resource"

	"github.com/sublet-dev/sublet/api/labels"
)

// share is the CPU that each pod of a greedy tenant asks for, in thousandths.
const share = 100

const greedy = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: greedy}
spec:
  replicas: %d
  selector: {matchLabels: {app: greedy}}
  template:
    metadata: {labels: {app: greedy}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - name: main
          image: "@IMAGE@"
          imagePullPolicy: IfNotPresent
          command: [sleep, infinity]
          resources: {requests: {cpu: %dm}}
`

// TestGreedyTenants lets two tenants with schedulers of their own ask at once for all
// that is free. A kubelet would refuse what is too much with OutOfcpu.
func TestGreedyTenants(t *testing.T) {
	const enabled = "controlPlane.advanced.virtualScheduler.enabled=true"
	tenants := []*tenant{
		install(t, "greedy-a", "greedy-a", enabled),
		// One that cannot see what the other takes, and has to be told.
		install(t, "greedy-b", "greedy-b", enabled, "controlPlane.advanced.virtualScheduler.hostUsage=false"),
	}
	n := freeShares(t)
	if n < 2 {
		t.Fatalf("the node has room for %d pods of %dm CPU; the test needs two", n, share)
	}
	for _, tn := range tenants {
		tn.apply(fmt.Sprintf(greedy, n, share))
	}
	eventually(t, "what is free is used and not a bit more", func(ctx context.Context) error {
		running := 0
		for _, tn := range tenants {
			on, err := tn.countPlaced(ctx)
			if err != nil {
				return err
			}
			running += on
		}
		// Pods of others may have come or gone meanwhile, by little.
		if running < n-1 {
			return fmt.Errorf("%d of %d pods run", running, n)
		}
		return nil
	})
	tenants[0].kubectl("delete", "deployment/greedy")
	tenants[1].rollout("deployment/greedy")
	for _, tn := range tenants {
		if _, err := tn.countPlaced(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// freeShares returns how many pods of one share the first node of the host has room for.
func freeShares(t *testing.T) int {
	t.Helper()
	nodes, err := hostClient.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil || len(nodes.Items) == 0 {
		t.Fatalf("%d nodes, %v", len(nodes.Items), err)
	}
	node := nodes.Items[0]
	pods, err := hostClient.CoreV1().Pods("").List(t.Context(), metav1.ListOptions{FieldSelector: "spec.nodeName=" + node.Name})
	if err != nil {
		t.Fatal(err)
	}
	free, places := node.Status.Allocatable.Cpu().MilliValue(), node.Status.Allocatable.Pods().Value()
	for i := range pods.Items {
		if phase := pods.Items[i].Status.Phase; phase != corev1.PodSucceeded && phase != corev1.PodFailed {
			asked := resourcehelper.PodRequests(&pods.Items[i], resourcehelper.PodResourcesOptions{})
			free -= asked.Cpu().MilliValue()
			places--
		}
	}
	return int(min(free/share, places))
}

// countPlaced returns how many pods of the tenant run. It returns an error for a pod that the
// kubelet refused, or that is not on the node of its host pod.
func (tn *tenant) countPlaced(ctx context.Context) (int, error) {
	hosts, err := hostClient.CoreV1().Pods(tn.namespace).List(ctx, metav1.ListOptions{LabelSelector: labels.Cluster})
	if err != nil {
		return 0, err
	}
	at, running := map[string]string{}, 0
	var problems []error
	for _, pod := range hosts.Items {
		if pod.Status.Phase == corev1.PodFailed {
			problems = append(problems, fmt.Errorf("the kubelet refused %s: %s %s", pod.Name, pod.Status.Reason, pod.Status.Message))
		}
		if pod.Status.Phase == corev1.PodRunning {
			running++
		}
		at[pod.Annotations[labels.VirtualName]] = pod.Spec.NodeName
	}
	text := tn.kubectl("get", "pods", "-o", "json")
	for _, pod := range decode[corev1.PodList](tn.t, text).Items {
		if node := pod.Spec.NodeName; node != "" && at[pod.Name] != "" && node != at[pod.Name] {
			problems = append(problems, fmt.Errorf("%s is on %s, its host pod on %s", pod.Name, node, at[pod.Name]))
		}
	}
	return running, errors.Join(problems...)
}
