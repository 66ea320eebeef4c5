//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

// madeUp are definitions of the host: one whose objects are the tenant's, and one whose
// objects are the host's, with one of them.
const madeUp = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.e2e.example.com}
spec:
  group: e2e.example.com
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget, categories: [toys]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    additionalPrinterColumns: [{name: Phase, type: string, jsonPath: .status.phase}]
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties:
              size: {type: integer}
              secretName: {type: string}
              peerRef: {type: object, properties: {name: {type: string}}}
          status: {type: object, properties: {phase: {type: string}}}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: shelves.e2e.example.com}
spec:
  group: e2e.example.com
  scope: Cluster
  names: {plural: shelves, singular: shelf, kind: Shelf}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {size: {type: integer}}}}}}
`

const madeUpShelf = `
apiVersion: e2e.example.com/v1
kind: Shelf
metadata: {name: tall}
spec: {size: 3}
`

const madeUpWidget = `
apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData: {k: v}
---
apiVersion: e2e.example.com/v1
kind: Widget
metadata: {name: one}
spec: {size: 1, secretName: keys}
`

// hostApply applies a manifest on the host.
func hostApply(manifest string) error {
	cmd := hostKubectl("apply", "-f", "-")
	cmd.Stdin = strings.NewReader(manifest)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// output waits until a command prints a text.
func output(t *testing.T, what, want string, command func() *exec.Cmd) {
	t.Helper()
	eventually(t, what, func(context.Context) error {
		out, err := command().CombinedOutput()
		if err != nil || strings.TrimSpace(string(out)) != want {
			return fmt.Errorf("got %q, want %q: %w", out, want, err)
		}
		return nil
	})
}

// TestCustomResources syncs made-up kinds of the host both ways with just the permissions of
// the chart, from the definition to the status.
func TestCustomResources(t *testing.T) {
	t.Parallel()
	deleteDefinitions := func() {
		_ = hostKubectl("delete", "crd", "widgets.e2e.example.com", "shelves.e2e.example.com", "--ignore-not-found").Run()
	}
	deleteDefinitions()
	t.Cleanup(deleteDefinitions)
	if err := hostApply(madeUp); err != nil {
		t.Fatal(err)
	}
	eventually(t, "an object of the host", func(context.Context) error { return hostApply(madeUpShelf) })
	tn := install(t, "custom", "e2e-custom",
		`sync.toHost.customResources.widgets\.e2e\.example\.com.enabled=true`,
		`sync.fromHost.customResources.shelves\.e2e\.example\.com.enabled=true`)
	tn.cannotChange("crd/widgets.e2e.example.com")
	output(t, "the shelf of the host", "3", func() *exec.Cmd { return tn.command("get", "shelf", "tall", "-o", "jsonpath={.spec.size}") })
	tn.cannotChange("shelf/tall")

	eventually(t, "a widget", func(context.Context) error {
		out, err := tn.applyOutput(madeUpWidget)
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	out, err := tn.command("patch", "widget", "one", "--type=merge", "-p", `{"spec":{"peerRef":{"name":"x"}}}`).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "sync.toHost.customResources[widgets.e2e.example.com].references") {
		t.Errorf("a reference that no rule names must be denied: %s", out)
	}
	host := tn.checkCopy("widgets", "toys")
	tn.kubectl("patch", "widget", "one", "--type=merge", "-p", `{"spec":{"size":2}}`)
	output(t, "the change", "2", host("jsonpath={.items[*].spec.size}"))
	tn.kubectl("delete", "widget", "one")
	output(t, "the end of the copy", "", host("name"))
}

// checkCopy checks the size of the only copy of a kind, and the copy of its Secret. The status
// must come back to the objects of a category. It returns how to print the copies.
func (tn *tenant) checkCopy(resource, category string) (host func(format string) func() *exec.Cmd) {
	t := tn.t
	t.Helper()
	host = func(format string) func() *exec.Cmd {
		return func() *exec.Cmd { return hostKubectl("-n", tn.namespace, "get", resource, "-o", format) }
	}
	output(t, "the copy", "1", host("jsonpath={.items[*].spec.size}"))
	named := mustRun(t, host("jsonpath={.items[*].spec.secretName}")())
	output(t, "the copy of the Secret", "dg==", func() *exec.Cmd {
		return hostKubectl("-n", tn.namespace, "get", "secret", strings.TrimSpace(named), "-o", "jsonpath={.data.k}")
	})
	name := strings.TrimSpace(mustRun(t, host("name")()))
	mustRun(t, hostKubectl("-n", tn.namespace, "patch", name, "--subresource=status", "--type=merge", "-p", `{"status":{"phase":"Ready"}}`))
	output(t, "the status", "Ready", func() *exec.Cmd { return tn.command("get", category, "-o", "jsonpath={.items[*].status.phase}") })
	return host
}
