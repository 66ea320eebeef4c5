//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// oddPods have a whole name, or wait for what comes later: files, and the name of a folder.
const oddPods = `
apiVersion: v1
kind: Pod
metadata: {name: whole}
spec:
  subdomain: db
  terminationGracePeriodSeconds: 0
  containers:
  - {name: main, image: "@IMAGE@", imagePullPolicy: IfNotPresent, command: [sleep, "100000"]}
---
apiVersion: v1
kind: Pod
metadata: {name: late-files}
spec:
  terminationGracePeriodSeconds: 0
  volumes:
  - {name: files, projected: {sources: [{configMap: {name: late, optional: true}}, {secret: {name: late, optional: true}}]}}
  containers:
  - {name: main, image: "@IMAGE@", imagePullPolicy: IfNotPresent, command: [sleep, "100000"], volumeMounts: [{name: files, mountPath: /files}]}
---
apiVersion: v1
kind: Pod
metadata: {name: late-folder}
spec:
  terminationGracePeriodSeconds: 0
  volumes: [{name: data, emptyDir: {}}]
  containers:
  - name: main
    image: "@IMAGE@"
    imagePullPolicy: IfNotPresent
    command: [sleep, "100000"]
    env: [{name: WHERE, valueFrom: {fieldRef: {fieldPath: "metadata.annotations['example.com/where']"}}}]
    volumeMounts: [{name: data, mountPath: /data, subPathExpr: "$(WHERE)/x"}]
`

// scratchPod has a volume of its own, which must be empty.
const scratchPod = `
apiVersion: v1
kind: Pod
metadata: {name: scratch}
spec:
  terminationGracePeriodSeconds: 0
  volumes:
  - {name: data, ephemeral: {volumeClaimTemplate: {spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 16Mi}}}}}}
  containers:
  - {name: main, image: "@IMAGE@", imagePullPolicy: IfNotPresent, command: [sh, -c, "test ! -e /data/x && echo x > /data/x && sleep 100000"], volumeMounts: [{name: data, mountPath: /data}]}
`

// oddName is a pod that reads a ConfigMap of the same name.
const oddName = `
apiVersion: v1
kind: ConfigMap
metadata: {name: "@NAME@"}
data: {k: v}
---
apiVersion: v1
kind: Pod
metadata: {name: "@NAME@"}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: main
    image: "@IMAGE@"
    imagePullPolicy: IfNotPresent
    command: [sh, -c, "hostname; sleep 100000"]
    envFrom: [{configMapRef: {name: "@NAME@"}}]
`

// testOddPods runs pods that few applications have.
func testOddPods(t *testing.T, tn *tenant) {
	names := map[string]string{"a.b-c.d": "a.b-c.d", strings.Repeat("a", 253): strings.Repeat("a", 63)} // pod -> its host name
	tn.apply(oddPods)
	tn.apply(scratchPod)
	for name := range names {
		tn.apply(strings.ReplaceAll(oddName, "@NAME@", name))
	}
	for name, hostname := range names {
		tn.await("condition=Ready", "pod/"+name)
		if got := strings.TrimSpace(tn.kubectl("logs", name)); got != hostname {
			t.Errorf("the host name of pod %s is %q, want %q", name, got, hostname)
		}
		tn.inPod(name, "test $k = v")
		eventually(t, "event of pod "+name, func(context.Context) error {
			if got := tn.kubectl("get", "events", "--field-selector", "involvedObject.name="+name, "-o", "jsonpath={.items[*].reason}"); !strings.Contains(got, "Started") {
				return fmt.Errorf("there are only %q", got)
			}
			return nil
		})
	}
	tn.await("condition=Ready", "pod/whole")
	if got := tn.inPod("whole", "hostname; hostname -f"); got != "whole\nwhole.db.default.svc.cluster.local\n" {
		t.Errorf("hostname and hostname -f print %q", got)
	}
	tn.await("condition=Ready", "pod/late-files")
	tn.kubectl("create", "configmap", "late", "--from-literal=k=one")
	tn.kubectl("create", "secret", "generic", "late", "--from-literal=s=one")
	tn.kubectl("annotate", "pod", "late-folder", "example.com/where=inside")
	tn.inPod("late-files", "test $(cat /files/k) = one && test $(cat /files/s) = one")
	tn.await("condition=Ready", "pod/late-folder")
	tn.kubectl("patch", "configmap", "late", "-p", `{"data":{"k":"two"}}`)
	tn.inPod("late-files", "test $(cat /files/k) = two")
	tn.kubectl("delete", "configmap", "late")
	tn.inPod("late-files", "! cat /files/k")
	tn.testScratch()
	for name := range names {
		tn.kubectl("delete", "pod/"+name, "configmap/"+name, "--wait=false")
	}
	tn.kubectl("delete", "pod", "whole", "late-files", "late-folder", "--wait=false")
}

// testScratch deletes a pod with an ephemeral volume. Its claim and its volume go too. A pod that
// is made again at once, as a StatefulSet does, gets another volume.
func (tn *tenant) testScratch() {
	tn.t.Helper()
	tn.await("condition=Ready", "pod/scratch")
	tn.kubectl("delete", "pod", "scratch", "--timeout", patience.String())
	tn.apply(scratchPod)
	tn.await("condition=Ready", "pod/scratch")
	volume := tn.kubectl("get", "pvc", "scratch-data", "-o", "jsonpath={.spec.volumeName}")
	tn.kubectl("delete", "pod", "scratch", "--timeout", patience.String())
	eventually(tn.t, "claim and volume are gone", func(ctx context.Context) error {
		_, claim := tn.virtual.CoreV1().PersistentVolumeClaims(metav1.NamespaceDefault).Get(ctx, "scratch-data", metav1.GetOptions{})
		_, err := tn.virtual.CoreV1().PersistentVolumes().Get(ctx, volume, metav1.GetOptions{})
		if !apierrors.IsNotFound(claim) || !apierrors.IsNotFound(err) {
			return errors.Join(claim, err, errors.New("one of them is still there"))
		}
		return nil
	})
}
