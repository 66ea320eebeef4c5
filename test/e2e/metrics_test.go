//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// autoscaled is a Deployment that uses more of a resource than it requests, with an autoscaler.
const autoscaled = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: @NAME@}
spec:
  selector: {matchLabels: {app: @NAME@}}
  template:
    metadata: {labels: {app: @NAME@}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: main
        image: @IMAGE@
        command: [/bin/sh, -c, "@COMMAND@"]
        resources: {requests: {cpu: 20m, memory: 16Mi}, limits: {cpu: 150m, memory: 64Mi}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: @NAME@}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: @NAME@}
  minReplicas: 1
  maxReplicas: 2
  metrics:
  - type: Resource
    resource: {name: @RESOURCE@, target: {type: Utilization, averageUtilization: 50}}
`

// TestMetrics reads usage with kubectl top, and lets autoscalers scale on CPU and memory.
func TestMetrics(t *testing.T) {
	t.Parallel()
	tn := install(t, "metrics", "metrics", "integrations.metricsServer.enabled=true",
		"integrations.kubeletMetrics.enabled=true")
	loads := map[string][2]string{ // name -> resource, command that uses it
		"busy": {"cpu", "while :; do :; done"},
		"full": {"memory", "dd if=/dev/zero of=/dev/shm/full bs=1M count=24; sleep 100000"},
	}
	for name, load := range loads {
		tn.apply(strings.NewReplacer("@NAME@", name, "@RESOURCE@", load[0], "@COMMAND@", load[1]).Replace(autoscaled))
	}
	for name := range loads {
		tn.rollout("deployment/" + name)
	}

	eventually(t, "usage of the tenant's pods", func(context.Context) error {
		out, err := tn.top("pods", "-A")
		if err != nil || !strings.Contains(out, "busy-") {
			return errors.Join(err, errors.New("no usage of the pod: "+out))
		}
		// The control plane runs in the same namespace of the host.
		if strings.Contains(out, "metrics-0") || strings.Contains(out, tn.namespace+" ") {
			t.Fatalf("kubectl top shows pods of the host:\n%s", out)
		}
		return nil
	})
	eventually(t, "usage of the node", func(context.Context) error {
		out, err := tn.top("nodes")
		if err != nil || strings.Contains(out, "unknown") || len(strings.Fields(out)) < 5 {
			return errors.Join(err, errors.New("no usage of the node: "+out))
		}
		return nil
	})
	eventually(t, "podmetrics", func(context.Context) error {
		out, err := tn.command("get", "podmetrics").CombinedOutput()
		if err != nil || !strings.Contains(string(out), "NAME") || !strings.Contains(string(out), "busy-") {
			return errors.Join(err, fmt.Errorf("kubectl prints %s", out))
		}
		return nil
	})
	tn.checkKubeletMetrics(t, "busy-")
	for name := range loads {
		tn.awaitAutoscaler(name)
	}
}

// awaitAutoscaler waits until the autoscaler of a Deployment has added a pod.
func (tn *tenant) awaitAutoscaler(name string) {
	tn.t.Helper()
	eventually(tn.t, "the autoscaler adds a pod to "+name, func(ctx context.Context) error {
		deployment, err := tn.virtual.AppsV1().Deployments(metav1.NamespaceDefault).Get(ctx, name, metav1.GetOptions{})
		if err != nil || deployment.Status.ReadyReplicas >= 2 {
			return err
		}
		hpa, err := tn.virtual.AutoscalingV2().HorizontalPodAutoscalers(metav1.NamespaceDefault).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		return fmt.Errorf("%d ready pods, the autoscaler has %+v", deployment.Status.ReadyReplicas, hpa.Status)
	})
}

// top runs kubectl top as the tenant and returns what it printed.
func (tn *tenant) top(args ...string) (string, error) {
	out, err := tn.command(append([]string{"top"}, append(args, "--no-headers")...)...).CombinedOutput()
	return string(out), err
}

// checkKubeletMetrics checks that the metrics of a kubelet have the tenant's pods, and no others. prefix
// is that of the name of a pod.
func (tn *tenant) checkKubeletMetrics(t *testing.T, prefix string) {
	t.Helper()
	nodes, err := tn.virtual.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil || len(nodes.Items) == 0 {
		t.Fatalf("no node of the pods: %v", err)
	}
	own := map[string]string{
		"metrics/resource": `pod="` + prefix, "metrics/cadvisor": `pod="` + prefix, "stats/summary": `"name":"` + prefix,
		// No pod has a probe.
		"metrics/probes": "",
	}
	for path, want := range own {
		eventually(t, path+" of the kubelet", func(context.Context) error {
			out, err := tn.command("get", "--raw", "/api/v1/nodes/"+nodes.Items[0].Name+"/proxy/"+path).CombinedOutput()
			if err != nil || !strings.Contains(string(out), want) {
				return errors.Join(err, fmt.Errorf("no %q in %q", want, out))
			}
			for _, foreign := range []string{tn.namespace + "-0", `namespace="` + tn.namespace, `"namespace":"` + tn.namespace, "systemContainers"} {
				if strings.Contains(string(out), foreign) {
					t.Fatalf("%s shows %q of the host:\n%s", path, foreign, out)
				}
			}
			return nil
		})
	}
}
