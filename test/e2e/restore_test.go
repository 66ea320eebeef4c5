//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// backedUp is what the tenant has when the backup is written.
const backedUp = `
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: precious}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 16Mi}}}
---
apiVersion: v1
kind: Secret
metadata: {name: password}
stringData: {word: from-before}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: early, labels: {app: early}}
spec:
  serviceName: early
  selector: {matchLabels: {app: early}}
  template:
    metadata: {labels: {app: early}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: main
        image: @IMAGE@
        command: [sh, -c, "echo kept > /data/word; exec sleep 100000"]
        env: [{name: WORD, valueFrom: {secretKeyRef: {name: password, key: word}}}]
        volumeMounts: [{name: data, mountPath: /data}]
      volumes: [{name: data, persistentVolumeClaim: {claimName: precious}}]
`

// TestRestore loses the volume of the control plane and restores the store from a backup, by
// the commands of the documentation. Pods continue to run, those that the backup lacks until the
// operator accepts the store.
func TestRestore(t *testing.T) {
	t.Parallel()
	const early = "early-0"
	tn := install(t, "restored", "restored")
	tn.apply(backedUp)
	tn.rollout("statefulset/early")
	tn.upgrade("controlPlane.backingStore.backup.enabled=true", "controlPlane.backingStore.backup.volumeClaim.retentionPolicy=Delete",
		"controlPlane.backingStore.backup.schedule=0 0 29 2 *") // None comes in between.
	eventually(t, "the first backup", func(ctx context.Context) error {
		report, err := tn.report(ctx)
		if err == nil && !strings.Contains(report, "newest: ") {
			return errors.New(report)
		}
		return err
	})
	tn.createPod(t.Context(), "late")
	tn.await("condition=Ready", "pod/late")
	uids := tn.podUIDs()
	if len(uids) != 2 {
		t.Fatalf("%d host pods, want those of %s and late", len(uids), early)
	}

	tn.scale(0)
	mustRun(t, hostKubectl("-n", tn.namespace, "delete", "pvc", "data-"+tn.release+"-0", "--timeout", patience.String()))
	lost := time.Now()
	tn.upgrade("controlPlane.backingStore.backup.restoreFrom=latest")
	figure("restore_ready", time.Since(lost).Seconds(), "s")

	checkRestored(t, tn, early)
	command := tn.acceptCommand()
	checkKept(t, uids, tn.podUIDs())
	tn.createPod(t.Context(), "after")
	tn.await("condition=Ready", "pod/after")
	mustRun(t, newCommand("sh", "-c", strings.Replace(command, "kubectl ", "kubectl --kubeconfig "+hostKubeconfig+" ", 1)))
	eventually(t, "what the backup lacks is deleted", func(context.Context) error {
		now := tn.podUIDs()
		for name, uid := range uids {
			kept := now[name] == uid
			if isEarly := strings.HasPrefix(name, early); isEarly != kept {
				return fmt.Errorf("host pod %s is kept: %t", name, kept)
			}
		}
		return nil
	})
	checkRestored(t, tn, early)

	// The setting may stay: a store with content is not restored again.
	tn.kubectl("create", "configmap", "since")
	tn.restart()
	tn.kubectl("get", "configmap", "since")
}

// checkRestored checks what the backup has, and that the pod of it runs on with its volume.
func checkRestored(t *testing.T, tn *tenant, pod string) {
	t.Helper()
	if got := tn.kubectl("get", "secret", "password", "-o", "go-template={{.data.word | base64decode}}"); got != "from-before" {
		t.Errorf("the Secret has %q", got)
	}
	if got := tn.kubectl("get", "pvc", "precious", "-o", "jsonpath={.status.phase}"); got != "Bound" {
		t.Errorf("the claim is %s", got)
	}
	tn.await("condition=Ready", "pod/"+pod)
	if got := strings.TrimSpace(tn.kubectl("exec", pod, "--", "cat", "/data/word")); got != "kept" {
		t.Errorf("the volume has %q", got)
	}
	if _, err := tn.virtual.CoreV1().Pods("default").Get(t.Context(), "late", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("a pod that the backup lacks: %v", err)
	}
}

// report returns the report of the operator's port.
func (tn *tenant) report(ctx context.Context) (string, error) {
	pod, err := hostClient.CoreV1().Pods(tn.namespace).Get(ctx, tn.controlPlanePod(), metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	secret, err := hostClient.CoreV1().Secrets(tn.namespace).Get(ctx, tn.release+"-operator", metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	// The server's certificate is for the name of its Service.
	client, err := rest.HTTPClientFor(&rest.Config{
		BearerToken: string(secret.Data["token"]), TLSClientConfig: rest.TLSClientConfig{Insecure: true},
	})
	if err != nil {
		return "", err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+pod.Status.PodIP+":8444/syncz", nil)
	if err != nil {
		return "", err
	}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	report, err := io.ReadAll(response.Body) // An unhealthy line gives an error's code, with the report.
	return string(report), err
}

// acceptCommand returns the command of the report that accepts the store.
func (tn *tenant) acceptCommand() string {
	tn.t.Helper()
	command := ""
	eventually(tn.t, "the report has the command", func(ctx context.Context) error {
		report, err := tn.report(ctx)
		if err != nil {
			return err
		}
		if command = regexp.MustCompile(`kubectl -n \S+ annotate configmap \S+ \S+`).FindString(report); command == "" {
			return errors.New(report)
		}
		return nil
	})
	return command
}
