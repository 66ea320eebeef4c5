//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// inClusterManifest is a pod that runs the command line without a kubeconfig.
const inClusterManifest = `
apiVersion: v1
kind: Namespace
metadata: {name: e2e-in-cluster}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: view, namespace: e2e-in-cluster}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}
subjects: [{kind: ServiceAccount, name: default, namespace: e2e-in-cluster}]
---
apiVersion: v1
kind: Pod
metadata: {name: list, namespace: e2e-in-cluster}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 0
  containers:
    - name: main
      image: "@IMAGE@"
      imagePullPolicy: IfNotPresent
      command: [/programs/sublet, list]
      env: [{name: HOME, value: /tmp}]
      volumeMounts: [{name: programs, mountPath: /programs, readOnly: true}]
  volumes: [{name: programs, hostPath: {path: "@PROGRAMS@"}}]
`

// testInCluster runs the command line in a pod of the host. It uses the pod's own account and namespace.
func testInCluster(t *testing.T) {
	programs, err := filepath.Abs(filepath.Join(root, "bin"))
	if err != nil {
		t.Fatal(err)
	}
	manifest := strings.NewReplacer("@IMAGE@", testImage, "@PROGRAMS@", programs).Replace(inClusterManifest)
	t.Cleanup(func() { _ = hostKubectl("delete", "namespace", "e2e-in-cluster", "--wait=false").Run() })
	cmd := hostKubectl("apply", "-f", "-")
	cmd.Stdin = strings.NewReader(manifest)
	mustRun(t, cmd)
	eventually(t, "the end of the pod", func(ctx context.Context) error {
		pod, err := hostClient.CoreV1().Pods("e2e-in-cluster").Get(ctx, "list", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if phase := pod.Status.Phase; phase != corev1.PodSucceeded && phase != corev1.PodFailed {
			return fmt.Errorf("it is %s: %v", phase, pod.Status.ContainerStatuses)
		}
		return nil
	})
	if out := mustRun(t, hostKubectl("-n", "e2e-in-cluster", "logs", "list")); !strings.Contains(out, "No virtual clusters in namespace e2e-in-cluster.") {
		t.Errorf("in a pod, it prints:\n%s", out)
	}
}
