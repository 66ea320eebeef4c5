//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// configReader is a ConfigMap and a pod that reads it at its start.
const configReader = `
---
apiVersion: v1
kind: ConfigMap
metadata: {name: @CONFIG@}
data: {v: @VALUE@}
---
apiVersion: v1
kind: Pod
metadata: {name: @POD@, labels: {reads: "@VALUE@"}}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 0
  containers:
  - name: main
    image: "@IMAGE@"
    imagePullPolicy: IfNotPresent
    command: [sh, -c, "echo $V; @THEN@"]
    env: [{name: V, valueFrom: {configMapKeyRef: {name: @CONFIG@, key: v}}}]
`

// testNewConfig changes ConfigMaps that the host has already, and creates pods that read them
// right after, as helm upgrade does. Each pod has the new content.
func testNewConfig(t *testing.T, tn *tenant) {
	const count = 8
	readers := func(prefix, value, then string) string {
		var manifest strings.Builder
		for i := range count {
			manifest.WriteString(strings.NewReplacer("@CONFIG@", fmt.Sprintf("config-%d", i), "@VALUE@", value,
				"@POD@", fmt.Sprintf("%s-%d", prefix, i), "@THEN@", then).Replace(configReader))
		}
		return manifest.String()
	}
	tn.apply(readers("keep", "old", "sleep 100000"))
	tn.kubectl("wait", "--for", "condition=Ready", "pod", "-l", "reads=old", "--timeout", patience.String())
	tn.apply(readers("next", "new", "exit 0"))
	for i := range count {
		pod := fmt.Sprintf("next-%d", i)
		tn.await("jsonpath={.status.phase}=Succeeded", "pod/"+pod)
		if got := strings.TrimSpace(tn.kubectl("logs", pod)); got != "new" {
			t.Errorf("pod %s has started with %q", pod, got)
		}
	}
	tn.kubectl("delete", "pod", "-l", "reads", "--wait=false")
}
