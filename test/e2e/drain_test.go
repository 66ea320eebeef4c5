//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const budgeted = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: budgeted}
spec:
  replicas: 2
  selector: {matchLabels: {app: budgeted}}
  template:
    metadata: {labels: {app: budgeted}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {name: main, image: "@IMAGE@", imagePullPolicy: IfNotPresent, command: [sleep, "100000"]}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: budgeted}
spec:
  minAvailable: 1
  selector: {matchLabels: {app: budgeted}}
`

// runBudgeted runs pods that have a budget on the only node of the host, and returns the node.
func (tn *tenant) runBudgeted() *corev1.Node {
	tn.t.Helper()
	nodes, err := hostClient.CoreV1().Nodes().List(tn.t.Context(), metav1.ListOptions{})
	if err != nil || len(nodes.Items) != 1 {
		tn.t.Fatalf("the test is for one node; there are %d, %v", len(nodes.Items), err)
	}
	tn.apply(budgeted)
	tn.rollout("deployment/budgeted")
	tn.await("jsonpath={.status.disruptionsAllowed}=1", "pdb/budgeted")
	return &nodes.Items[0]
}

// TestDrain lets a tenant drain the only node there is. The budget of the pods holds
// the last one back, and the host's node is left alone.
func TestDrain(t *testing.T) {
	t.Parallel()
	tn := install(t, "drain", "tenant-drain", schedulerKey+"=true")
	host := tn.runBudgeted()
	node, before := host.Name, partsOf(host)

	// Long enough for one that leaves in a second, and for some tries with the other.
	eventually(t, "kubectl drain prints what holds it up", func(context.Context) error {
		out, err := tn.command("drain", node, "--timeout", "20s").CombinedOutput()
		if err == nil {
			t.Fatalf("kubectl drain must fail, as the budget forbids the last pod: %s", out)
		}
		if !strings.Contains(string(out), "would violate the pod's disruption budget") {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	eventually(t, "one pod runs and its twin finds no node", func(context.Context) error {
		pods := decode[corev1.PodList](t, tn.kubectl("get", "pods", "-l", "app=budgeted", "-o", "json")).Items
		var states []string
		for _, pod := range pods {
			states = append(states, fmt.Sprintf("%s on %q", pod.Status.Phase, pod.Spec.NodeName))
		}
		slices.Sort(states)
		if !slices.Equal(states, []string{`Pending on ""`, fmt.Sprintf("Running on %q", node)}) {
			return fmt.Errorf("%v", states)
		}
		return nil
	})
	tn.await("jsonpath={.spec.unschedulable}=true", "node/"+node)
	hostNode, err := hostClient.CoreV1().Nodes().Get(t.Context(), node, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, partsOf(hostNode)); diff != "" {
		t.Errorf("the host's node has changed (-before +after):\n%s", diff)
	}
	tn.kubectl("uncordon", node)
	tn.rollout("deployment/budgeted")
}
