//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/hostlab"
)

const monitoringNamespace = "e2e-monitoring"

// hostPrometheus is a Prometheus of the host that scrapes what tenants ask for, with the label of
// their namespaces.
const hostPrometheus = `
apiVersion: monitoring.coreos.com/v1
kind: Prometheus
metadata: {name: e2e, namespace: e2e-monitoring}
spec:
  version: v3.4.2
  serviceAccountName: prometheus
  scrapeInterval: 1s
  enforcedNamespaceLabel: tenant
  serviceMonitorSelector: {}
  serviceMonitorNamespaceSelector: {matchExpressions: [{key: kubernetes.io/metadata.name, operator: In, values: [@TENANTS@]}]}
  podMonitorSelector: {}
  podMonitorNamespaceSelector: {matchExpressions: [{key: kubernetes.io/metadata.name, operator: In, values: [@TENANTS@]}]}
  resources: {requests: {memory: 64Mi}}
`

// measuredPod has a metric that a Service and a monitor lead to.
const measuredPod = `
apiVersion: v1
kind: Service
metadata: {name: shop, labels: {app: shop}}
spec: {selector: {app: shop}, ports: [{name: metrics, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: shop, labels: {app: shop}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: main
    image: "@IMAGE@"
    imagePullPolicy: IfNotPresent
    ports: [{name: metrics, containerPort: 8080}]
    command: [sh, -c, 'mkdir /tmp/www && echo "e2e_sold @SOLD@" > /tmp/www/metrics.txt && exec busybox httpd -f -p 8080 -h /tmp/www']
`

const monitorsOfTenant = `
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata: {name: shop}
spec:
  selector: {matchLabels: {app: shop}}
  endpoints: [{port: metrics, path: /metrics.txt}]
---
apiVersion: monitoring.coreos.com/v1
kind: PodMonitor
metadata: {name: shop}
spec:
  selector: {matchLabels: {app: shop}}
  podMetricsEndpoints: [{port: metrics, path: /metrics.txt}]
`

// startPrometheusOperator runs the Prometheus operator on the host.
func startPrometheusOperator(t *testing.T) {
	t.Helper()
	sources := loadSoftware(t, hostlab.PrometheusOperator(), hostlab.Prometheus())[0]
	applyOnHost(t, readManifests(t, sources, "example/prometheus-operator-crd/*.yaml"))
	createHostNamespace(t, monitoringNamespace)
	// The operator creates it for the kubelets.
	t.Cleanup(func() { _ = hostKubectl("-n", "kube-system", "delete", "service/kubelet", "--ignore-not-found").Run() })
	manifests := readManifests(t, sources,
		"example/rbac/prometheus-operator/prometheus-operator-c*.yaml", "example/rbac/prometheus-operator/prometheus-operator-deployment.yaml",
		"example/rbac/prometheus-operator/prometheus-operator-service-account.yaml", "example/rbac/prometheus/prometheus-cluster-*.yaml")
	applyOnHost(t, strings.ReplaceAll(manifests, "namespace: default", "namespace: "+monitoringNamespace))
	mustRun(t, hostKubectl("-n", monitoringNamespace, "create", "serviceaccount", "prometheus"))
}

// requireScraped waits until the Prometheus of the host has so many series of a query.
func requireScraped(t *testing.T, query string, series int) {
	t.Helper()
	path := "/api/v1/namespaces/" + monitoringNamespace + "/pods/prometheus-e2e-0:9090/proxy/api/v1/query?query=" + url.QueryEscape(query)
	eventually(t, query, func(context.Context) error {
		out, err := hostKubectl("get", "--raw", path).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		answer := decode[struct {
			Data struct {
				Result []any `json:"result"`
			} `json:"data"`
		}](t, string(out))
		if len(answer.Data.Result) != series {
			return fmt.Errorf("got %s, want %d series", out, series)
		}
		return nil
	})
}

// TestServiceMonitors runs Prometheus on the host by its operator. It scrapes a pod of each tenant,
// by a ServiceMonitor and by a PodMonitor of the same tenant, and nothing else of the host.
func TestServiceMonitors(t *testing.T) {
	t.Parallel()
	sold := map[string]string{"tenant-monitors": "42", "tenant-monitorsb": "7"}
	namespaces := slices.Sorted(maps.Keys(sold))
	startPrometheusOperator(t)
	var tn *tenant
	for _, namespace := range slices.Backward(namespaces) {
		tn = install(t, strings.TrimPrefix(namespace, "tenant-"), namespace, admitsFrom(monitoringNamespace), "integrations.prometheusOperator.enabled=true")
		tn.apply(strings.ReplaceAll(measuredPod, "@SOLD@", sold[namespace]))
		tn.applies(monitorsOfTenant)
	}
	// A Prometheus that starts before them has a new configuration only minutes later.
	output(t, "monitors on the host", "shop shop shop shop", func() *exec.Cmd {
		return hostKubectl("get", "servicemonitors,podmonitors", "-A", "-o", `jsonpath={.items[*].metadata.annotations.sublet\.dev/virtual-name}`)
	})
	applyOnHost(t, strings.ReplaceAll(hostPrometheus, "@TENANTS@", strings.Join(namespaces, ", ")))
	tn.isDenied("relabelings", strings.Replace(monitorsOfTenant, "path: /metrics.txt", "relabelings: [{targetLabel: __address__, replacement: 'a:1'}]", 1))
	tn.isDenied("namespace", strings.Replace(monitorsOfTenant, "spec:", "spec:\n  namespaceSelector: {matchNames: [kube-system]}", 1))
	for namespace, number := range sold {
		requireScraped(t, fmt.Sprintf("e2e_sold{tenant=%q}==%s", namespace, number), 2)
	}
	requireScraped(t, "up", 4)

	tn.kubectl("patch", "servicemonitor", "shop", "--type=merge", "-p", `{"spec":{"selector":{"matchLabels":null}}}`)
	eventually(t, "empty selector that is confined", func(context.Context) error {
		out, err := hostKubectl("-n", tn.namespace, "get", "servicemonitors", "-o", "jsonpath={.items[*].spec.selector.matchLabels}").CombinedOutput()
		if err != nil || strings.Contains(string(out), "shop") || !strings.Contains(string(out), labels.Cluster) {
			return fmt.Errorf("the host has the selector %s, %w", out, err)
		}
		return nil
	})
	tn.changes("servicemonitors", "shop", `{"spec":{"sampleLimit":7}}`, ".spec.sampleLimit", "7")
	tn.changes("podmonitors", "shop", `{"spec":{"sampleLimit":7}}`, ".spec.sampleLimit", "7")
}
