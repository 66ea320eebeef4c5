//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// stranded is a StatefulSet whose pod leaves a lost node at once.
const stranded = `
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: stranded}
spec:
  serviceName: stranded
  selector: {matchLabels: {app: stranded}}
  template:
    metadata: {labels: {app: stranded}}
    spec:
      terminationGracePeriodSeconds: 1
      tolerations:
      - {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 0}
      containers:
      - {name: main, image: "@IMAGE@", imagePullPolicy: IfNotPresent, command: [sleep, "100000"]}
`

// TestLostNode loses a node of the host that runs a pod of a StatefulSet. The pod may still run
// there, so it stays, terminating. It is replaced once an operator has declared the node dead.
func TestLostNode(t *testing.T) {
	tn := install(t, "lostnode", "tenant-lostnode")
	nodes, err := hostClient.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil || len(nodes.Items) != 1 {
		t.Fatalf("the test is for one node; there are %d, %v", len(nodes.Items), err)
	}
	only := &nodes.Items[0]
	lost := startStandIn(t, only)
	t.Cleanup(func() { _ = hostKubectl("uncordon", only.Name).Run() })
	mustRun(t, hostKubectl("cordon", only.Name))
	tn.apply(stranded)
	tn.rollout("statefulset/stranded")
	mustRun(t, hostKubectl("uncordon", only.Name))
	before := tn.podOn(lost.name, "")

	lost.lose(t)
	eventually(t, "the pod is to end", func(ctx context.Context) error {
		pod, err := tn.virtual.CoreV1().Pods(metav1.NamespaceDefault).Get(ctx, before.Name, metav1.GetOptions{})
		if err == nil && (pod.UID != before.UID || pod.DeletionTimestamp == nil) {
			err = fmt.Errorf("pod %s is on %q, deleted %v", pod.UID, pod.Spec.NodeName, pod.DeletionTimestamp)
		}
		return err
	})
	mustRun(t, hostKubectl("taint", "node", lost.name, corev1.TaintNodeOutOfService+"=nodeshutdown:NoExecute"))
	tn.podOn(only.Name, before.UID)
}

// podOn waits until the pod of the StatefulSet is ready on a node, and is not a former one.
func (tn *tenant) podOn(node string, former types.UID) *corev1.Pod {
	tn.t.Helper()
	var pod *corev1.Pod
	eventually(tn.t, "the pod is ready on node "+node, func(ctx context.Context) error {
		var err error
		pod, err = tn.virtual.CoreV1().Pods(metav1.NamespaceDefault).Get(ctx, "stranded-0", metav1.GetOptions{})
		if err == nil && (pod.UID == former || pod.Spec.NodeName != node || !isReady(pod)) {
			err = fmt.Errorf("pod %s is on %q: %+v", pod.UID, pod.Spec.NodeName, pod.Status.Conditions)
		}
		return err
	})
	return pod
}
