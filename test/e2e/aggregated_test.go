//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
)

// gaugeServer is an API server that the host aggregates. It has one kind, without a
// definition.
const gaugeServer = `
apiVersion: v1
kind: Namespace
metadata: {name: e2e-gauges}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: gauges, namespace: e2e-gauges}
spec:
  selector: {matchLabels: {app: gauges}}
  template:
    metadata: {labels: {app: gauges}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: main
        image: "@IMAGE@"
        imagePullPolicy: IfNotPresent
        command: [testserver, gauges]
        readinessProbe: {tcpSocket: {port: 8443}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: gauges, namespace: e2e-gauges}
spec: {selector: {app: gauges}, ports: [{port: 443, targetPort: 8443}]}
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1.aggregated.example.com}
spec:
  group: aggregated.example.com
  version: v1
  groupPriorityMinimum: 100
  versionPriority: 100
  insecureSkipTLSVerify: true
  service: {name: gauges, namespace: e2e-gauges}
`

// gauge is an object of that kind, with a Secret.
const gauge = `
apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData: {k: v}
---
apiVersion: aggregated.example.com/v1
kind: Gauge
metadata: {name: @NAME@}
spec: {size: 1, secretName: keys}
`

// serveGauges runs the API on the host until the test ends, and has the host aggregate it.
func serveGauges(t *testing.T) {
	t.Helper()
	deleteAPIService := func() {
		_ = hostKubectl("delete", "apiservice", "v1.aggregated.example.com", "--ignore-not-found").Run()
		_ = hostKubectl("delete", "namespace", "e2e-gauges", "--ignore-not-found").Run()
	}
	deleteAPIService()
	t.Cleanup(deleteAPIService)
	if err := hostApply(strings.ReplaceAll(gaugeServer, "@IMAGE@", testImage)); err != nil {
		t.Fatal(err)
	}
	awaitGauges(t, true)
}

// awaitGauges waits until the host reaches the API, or does not.
func awaitGauges(t *testing.T, reached bool) {
	t.Helper()
	eventually(t, fmt.Sprintf("an API that the host reaches: %t", reached), func(context.Context) error {
		out, err := hostKubectl("get", "--raw", "/apis/aggregated.example.com/v1").CombinedOutput()
		if (err == nil) != reached {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}

// TestAggregatedAPI syncs a kind that an aggregated API of the host serves, with just the
// permissions of the chart.
func TestAggregatedAPI(t *testing.T) {
	t.Parallel()
	serveGauges(t)
	tn := install(t, "gauges", "e2e-aggregated", `sync.toHost.customResources.gauges\.aggregated\.example\.com.enabled=true`)
	apply := func(manifest string) error {
		out, err := tn.applyOutput(manifest)
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}
	one, two := strings.ReplaceAll(gauge, "@NAME@", "one"), strings.ReplaceAll(gauge, "@NAME@", "two")
	eventually(t, "a gauge", func(context.Context) error { return apply(one) })
	tn.cannotChange("crd/gauges.aggregated.example.com")
	host := tn.checkCopy("gauges", "dials")

	tn.explainsGauge()
	for spec, want := range map[string]string{
		"{size: 1, colour: red}":          `unknown field "spec.colour"`,
		"{size: large}":                   "must be of type integer",
		"{secretName: keys}":              "spec.size: Required value",
		"{size: 1, peerRef: {name: two}}": "sync.toHost.customResources[gauges.aggregated.example.com].references",
	} {
		if err := apply(strings.ReplaceAll(one, "{size: 1, secretName: keys}", spec)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", spec, err, want)
		}
	}

	leadTo := func(app string) {
		patch := `{"spec":{"selector":{"app":"` + app + `"}}}`
		mustRun(t, hostKubectl("-n", "e2e-gauges", "patch", "service", "gauges", "-p", patch))
		awaitGauges(t, app == "gauges")
	}
	leadTo("nowhere")
	if err := apply(two); err != nil {
		t.Errorf("the kind must stay while its server is away: %v", err)
	}
	leadTo("gauges")
	output(t, "the copies", "1 1", host("jsonpath={.items[*].spec.size}"))
	tn.kubectl("patch", "gauge", "one", "--type=merge", "-p", `{"spec":{"size":2}}`)
	tn.kubectl("delete", "gauge", "two")
	output(t, "the change and the deletion", "2", host("jsonpath={.items[*].spec.size}"))
}

// TestTenantAggregates aggregates an API server of the tenant in the virtual cluster, with the
// default settings.
func TestTenantAggregates(t *testing.T) {
	t.Parallel()
	tn := install(t, "aggregating", "e2e-aggregating")
	tn.apply(gaugeServer)
	tn.await("condition=Available", "apiservice/v1.aggregated.example.com")
	one := strings.ReplaceAll(gauge, "@NAME@", "one")
	tn.apply(one)
	if got := tn.kubectl("get", "gauges", "-o", "name"); strings.TrimSpace(got) != "gauge.aggregated.example.com/one" {
		t.Errorf("the gauges are %q", got)
	}
	tn.explainsGauge()
}

// explainsGauge waits until kubectl explains a field of a gauge.
func (tn *tenant) explainsGauge() {
	tn.t.Helper()
	eventually(tn.t, "kubectl explain", func(context.Context) error {
		out, err := tn.command("explain", "gauge.spec.size").CombinedOutput()
		if err != nil || !strings.Contains(string(out), "Size of the thing.") {
			return fmt.Errorf("it prints %s: %w", out, err)
		}
		return nil
	})
}
