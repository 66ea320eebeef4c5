//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/sublet-dev/sublet/api/labels"
)

// TestHostDrain drains the host's node of the tenant's pods. The tenant's budget holds the
// last one back, and the drain ends all the same after its timeout. A change of the budget
// follows. With another node, no pod waits for that timeout.
func TestHostDrain(t *testing.T) {
	const timeout = "sync.toHost.podDisruptionBudgets.drainTimeoutSeconds="
	tn := install(t, "hostdrain", "tenant-hostdrain", timeout+"45") // Less than patience, and longer than a slow step.
	only := tn.runBudgeted()
	node := only.Name
	for _, wait := range []string{"create", "jsonpath={.status.disruptionsAllowed}=1"} {
		mustRun(t, hostKubectl("-n", tn.namespace, "wait", "--for="+wait, "pdb", "-l", labels.Namespace+"=default", "--timeout", patience.String()))
	}

	t.Cleanup(func() { _ = hostKubectl("uncordon", node).Run() })
	out, err := hostKubectl("drain", node, "--pod-selector", labels.Release+"="+tn.release, "--timeout", patience.String()).CombinedOutput()
	if err != nil {
		t.Errorf("the drain must end after the timeout: %v: %s", err, out)
	}
	if !strings.Contains(string(out), "would violate the pod's disruption budget") {
		t.Errorf("the drain must wait for the tenant's budget: %s", out)
	}
	mustRun(t, hostKubectl("uncordon", node))
	tn.rollout("deployment/budgeted")
	mustRun(t, hostKubectl("-n", tn.namespace, "wait", "--for=create", "pdb", "-l", labels.Namespace+"=default", "--timeout", patience.String()))

	tn.kubectl("patch", "pdb", "budgeted", "--type", "merge", "-p", `{"spec":{"minAvailable":2}}`)
	mustRun(t, hostKubectl("-n", tn.namespace, "wait", "--for=jsonpath={.spec.minAvailable}=2", "pdb", "-l", labels.Namespace+"=default", "--timeout", patience.String()))
	tn.kubectl("patch", "pdb", "budgeted", "--type", "merge", "-p", `{"spec":{"minAvailable":1}}`)
	mustRun(t, hostKubectl("-n", tn.namespace, "wait", "--for=jsonpath={.status.disruptionsAllowed}=1", "pdb", "-l", labels.Namespace+"=default", "--timeout", patience.String()))
	tn.await("jsonpath={.status.disruptionsAllowed}=1", "pdb/budgeted")
	tn.upgrade(timeout + "3600") // From here on, a drain waits for the budget only.
	mustRun(t, hostKubectl("-n", tn.namespace, "wait", "--for=jsonpath={.status.disruptionsAllowed}=1", "pdb", "-l", labels.Namespace+"=default", "--timeout", patience.String()))
	tn.testDrainTo(startStandIn(t, only), node)
}

// testDrainTo drains a node of the host while another one takes the tenant's pods. The host never
// sees fewer healthy pods than the budget wants.
func (tn *tenant) testDrainTo(other standIn, node string) {
	tn.t.Helper()
	ctx, cancel := context.WithCancel(tn.t.Context())
	defer cancel()
	// The tenant may see the end of one pod before the start of another.
	budgets, err := hostClient.PolicyV1().PodDisruptionBudgets(tn.namespace).Watch(ctx, metav1.ListOptions{LabelSelector: labels.Namespace + "=default"})
	if err != nil {
		tn.t.Fatal(err)
	}
	fewest := make(chan int32, 1)
	go func() {
		least := int32(2)
		for event := range budgets.ResultChan() {
			if budget, ok := event.Object.(*policyv1.PodDisruptionBudget); ok {
				least = min(least, budget.Status.CurrentHealthy)
			}
			if event.Type == watch.Deleted { // Nothing holds the pods any more.
				least = 0
			}
		}
		fewest <- least
	}()
	begin := time.Now()
	mustRun(tn.t, hostKubectl("drain", node, "--pod-selector", labels.Release+"="+tn.release, "--timeout", patience.String()))
	took := time.Since(begin)
	tn.rollout("deployment/budgeted")
	cancel()
	if least := <-fewest; least < 1 {
		tn.t.Errorf("the host has seen %d healthy pods, the budget wants 1", least)
	}
	tn.t.Logf("the drain took %s", took)
	eventually(tn.t, "all pods are on "+other.name, func(context.Context) error {
		for _, pod := range decode[corev1.PodList](tn.t, tn.kubectl("get", "pods", "-l", "app=budgeted", "-o", "json")).Items {
			if pod.Spec.NodeName != other.name {
				return fmt.Errorf("pod %s is on %q", pod.Name, pod.Spec.NodeName)
			}
		}
		return nil
	})
}

const lone = `
apiVersion: v1
kind: Pod
metadata: {name: lone, labels: {app: lone}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: main, image: "@IMAGE@", imagePullPolicy: IfNotPresent, command: [sleep, "100000"]}
`

// TestEvictionAsksHost lets a tenant evict a pod that a budget of the operator holds.
func TestEvictionAsksHost(t *testing.T) {
	t.Parallel()
	tn := install(t, "evictions", "tenant-evictions")
	tn.apply(lone)
	tn.await("condition=Ready", "pod/lone")
	budgets := hostClient.PolicyV1().PodDisruptionBudgets(tn.namespace)
	_, err := budgets.Create(t.Context(), &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: "operators"},
		Spec: policyv1.PodDisruptionBudgetSpec{
			MinAvailable: new(intstr.FromInt32(1)), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "lone"}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	mustRun(t, hostKubectl("-n", tn.namespace, "wait", "--for=jsonpath={.status.expectedPods}=1", "pdb/operators", "--timeout", patience.String()))
	evict := func() error {
		return tn.virtual.CoreV1().Pods("default").EvictV1(t.Context(), &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "lone"}})
	}
	if err := evict(); !apierrors.IsTooManyRequests(err) || !strings.Contains(err.Error(), "disruption budget on the host") {
		t.Errorf("the budget of the operator must hold the pod: %v", err)
	}
	if err := budgets.Delete(t.Context(), "operators", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "eviction of the pod", func(context.Context) error { return evict() })
	tn.kubectl("wait", "--for=delete", "pod/lone", "--timeout", patience.String())
}
