//go:build e2e

package e2e

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/api/labels"
)

// TestHostDrain drains the host's node of the tenant's pods. The tenant's budget holds the
// last one back, and the drain ends all the same after its timeout.
func TestHostDrain(t *testing.T) {
	const timeout = "sync.toHost.podDisruptionBudgets.drainTimeoutSeconds="
	tn := install(t, "hostdrain", "tenant-hostdrain", timeout+"45")
	nodes, err := hostClient.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil || len(nodes.Items) != 1 {
		t.Fatalf("the test is for one node; there are %d, %v", len(nodes.Items), err)
	}
	node := nodes.Items[0].Name
	tn.apply(budgeted)
	tn.rollout("deployment/budgeted")
	tn.await("jsonpath={.status.disruptionsAllowed}=1", "pdb/budgeted")
	for _, wait := range []string{"create", "jsonpath={.status.disruptionsAllowed}=1"} {
		mustRun(t, hostKubectl("-n", tn.namespace, "wait", "--for="+wait, "pdb", "-l", labels.Namespace+"=default", "--timeout", patience.String()))
	}

	t.Cleanup(func() { _ = hostKubectl("uncordon", node).Run() })
	out, err := hostKubectl("drain", node, "--force", "--pod-selector", labels.Release+"="+tn.release, "--timeout", patience.String()).CombinedOutput()
	if err != nil {
		t.Errorf("the drain must end after the timeout: %v: %s", err, out)
	}
	if !strings.Contains(string(out), "would violate the pod's disruption budget") {
		t.Errorf("the drain must wait for the tenant's budget: %s", out)
	}
	mustRun(t, hostKubectl("uncordon", node))
	tn.rollout("deployment/budgeted")
	mustRun(t, hostKubectl("-n", tn.namespace, "wait", "--for=create", "pdb", "-l", labels.Namespace+"=default", "--timeout", patience.String()))
}
