//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/hostlab"
)

const kueueNamespace = "kueue-system"

// kueueValues make Kueue hold pods, and those of one tenant alone.
const kueueValues = `
controllerManager:
  manager:
    image: {pullPolicy: IfNotPresent}
    resources: {requests: {cpu: 100m}}
  readinessProbe: {initialDelaySeconds: 1}
managerConfig:
  controllerManagerConfigYaml: |-
    apiVersion: config.kueue.x-k8s.io/v1beta1
    kind: Configuration
    health: {healthProbeBindAddress: ":8081"}
    metrics: {bindAddress: ":8443"}
    webhook: {port: 9443}
    leaderElection: {leaderElect: false}
    managedJobsNamespaceSelector:
      matchLabels: {kubernetes.io/metadata.name: @TENANT@}
    integrations: {frameworks: [pod]}
`

// hostQueue is a queue of the host in which one of the pods of the test fits.
const hostQueue = `
apiVersion: kueue.x-k8s.io/v1beta1
kind: ResourceFlavor
metadata: {name: e2e-any}
---
apiVersion: kueue.x-k8s.io/v1beta1
kind: ClusterQueue
metadata: {name: e2e-shared}
spec:
  namespaceSelector: {}
  resourceGroups:
  - coveredResources: [cpu, memory]
    flavors: [{name: e2e-any, resources: [{name: cpu, nominalQuota: 150m}, {name: memory, nominalQuota: 1Gi}]}]
`

const queueOfTenant = `
apiVersion: kueue.x-k8s.io/v1beta1
kind: LocalQueue
metadata: {name: main}
spec: {clusterQueue: e2e-shared}
`

const queuedJob = `
apiVersion: batch/v1
kind: Job
metadata: {name: @NAME@}
spec:
  template:
    metadata: {labels: {kueue.x-k8s.io/queue-name: main}}
    spec:
      restartPolicy: Never
      terminationGracePeriodSeconds: 0
      containers:
      - {name: main, image: "@IMAGE@", imagePullPolicy: IfNotPresent, command: [sleep, @SECONDS@], resources: {requests: {cpu: 100m}}}
`

// startKueue runs Kueue on the host for the pods of one tenant.
func startKueue(t *testing.T, tenant string) {
	t.Helper()
	sources := loadSoftware(t, hostlab.Kueue())[0]
	createHostNamespace(t, kueueNamespace)
	installOnHost(t, "kueue", kueueNamespace, filepath.Join(sources, "charts/kueue"), strings.ReplaceAll(kueueValues, "@TENANT@", tenant))
	eventually(t, "certificate of Kueue in its pod", mountKueueCertificate)
	awaitRollout(t, kueueNamespace, "kueue-controller-manager")
	applyOnHost(t, hostQueue)
}

// mountKueueCertificate makes the kubelet mount the certificate that Kueue has made for itself.
// Kueue waits for it, and the kubelet looks at once when the pod changes.
func mountKueueCertificate(ctx context.Context) error {
	secret, err := hostClient.CoreV1().Secrets(kueueNamespace).Get(ctx, "kueue-webhook-server-cert", metav1.GetOptions{})
	if err != nil || len(secret.Data[corev1.TLSCertKey]) == 0 {
		return errors.Join(err, errors.New("there is no certificate"))
	}
	out, err := hostKubectl("-n", kueueNamespace, "annotate", "pods", "--all", "--overwrite", "e2e/certificate="+secret.ResourceVersion).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// TestQueues runs Kueue on the host. Jobs of a tenant wait in a queue of the tenant, which is in
// a queue of the host. The tenant sees both, and a Job starts when another one leaves.
func TestQueues(t *testing.T) {
	t.Parallel()
	startKueue(t, "tenant-queues")
	tn := install(t, "queues", "tenant-queues", "integrations.kueue.enabled=true")
	tn.awaits("clusterqueues", "e2e-shared")
	tn.applies(queueOfTenant)
	tn.isDenied("no object of clusterqueues", strings.NewReplacer("e2e-shared", "e2e-other", "name: main", "name: other").Replace(queueOfTenant))
	tn.await("condition=Active", "localqueue/main")

	tn.apply(strings.NewReplacer("@NAME@", "first", "@SECONDS@", "infinity").Replace(queuedJob))
	tn.await("jsonpath={.status.ready}=1", "job/first")
	tn.apply(strings.NewReplacer("@NAME@", "second", "@SECONDS@", `"0"`).Replace(queuedJob))
	tn.await("jsonpath={.status.pendingWorkloads}=1", "localqueue/main")
	output(t, "pod that waits", "SchedulingGated", func() *exec.Cmd {
		return tn.command("get", "pods", "-l", "job-name=second", "-o", `jsonpath={.items[*].status.conditions[?(@.type=="PodScheduled")].reason}`)
	})
	tn.kubectl("delete", "job", "first")
	tn.await("condition=Complete", "job/second")

	tn.kubectl("delete", "job", "second")
	eventually(t, "end of the pods on the host", func(ctx context.Context) error {
		pods, err := hostClient.CoreV1().Pods(tn.namespace).List(ctx, metav1.ListOptions{LabelSelector: "kueue.x-k8s.io/managed=true"})
		if err != nil || len(pods.Items) > 0 {
			return fmt.Errorf("the host has %d pods, %w", len(pods.Items), err)
		}
		return nil
	})
	tn.changes("localqueues", "main", `{"spec":{"stopPolicy":"Hold"}}`, ".spec.stopPolicy", "Hold")
}
