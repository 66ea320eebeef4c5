//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"testing"
)

const gated = `
apiVersion: v1
kind: Pod
metadata: {name: gated, labels: {app: gated}}
spec:
  terminationGracePeriodSeconds: 0
  readinessGates: [{conditionType: example.com/warm}]
  containers:
  - {name: main, image: "@IMAGE@", imagePullPolicy: IfNotPresent, command: [sleep, "100000"]}
`

// testReadiness opens a readiness gate of a pod. The pod is ready on neither side before.
func testReadiness(t *testing.T, tn *tenant) {
	tn.apply(gated)
	tn.await("condition=ContainersReady", "pod/gated")
	tn.await("condition=Ready=false", "pod/gated")
	if host := tn.hostPodOf("gated"); isReady(host) {
		t.Error("the host pod is ready, but its gate is closed")
	}
	tn.kubectl("patch", "pod", "gated", "--subresource", "status", "-p",
		`{"status":{"conditions":[{"type":"example.com/warm","status":"True"}]}}`)
	tn.await("condition=Ready", "pod/gated")
	eventually(t, "host pod is ready", func(context.Context) error {
		if host := tn.hostPodOf("gated"); !isReady(host) {
			return fmt.Errorf("the host pod has the conditions %v", host.Status.Conditions)
		}
		return nil
	})
	tn.kubectl("delete", "pod", "gated")
}
