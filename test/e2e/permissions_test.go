//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/api/release"
)

// everyKind has one object of each kind that a tenant may have, without those that other
// tests use anyway.
const everyKind = `
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {a: b}
---
apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData: {a: b}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: work, labels: {app: work}}
spec:
  terminationGracePeriodSeconds: 0
  volumes:
  - {name: settings, configMap: {name: settings}}
  - {name: keys, secret: {secretName: keys}}
  - {name: data, persistentVolumeClaim: {claimName: data}}
  containers:
  - name: main
    image: "@IMAGE@"
    imagePullPolicy: IfNotPresent
    stdin: true
    command: [sh, -c, "nc -lk -p 8080 -e cat & sleep 100000"]
    resources: {requests: {cpu: 10m}, limits: {cpu: 100m}}
    volumeMounts: [{name: settings, mountPath: /settings}, {name: keys, mountPath: /keys}, {name: data, mountPath: /data}]
---
apiVersion: v1
kind: Service
metadata: {name: by-hand}
spec: {ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed}
spec: {podSelector: {matchLabels: {app: work}}, policyTypes: [Ingress]}
`

// TestPermissions uses every permission of the default Role that normal work uses, in all ways
// that there are. The comparison with the audit log at the end of the run finds what is left.
func TestPermissions(t *testing.T) {
	t.Parallel()
	tn := install(t, "perms", "tenant-perms")
	tn.apply(everyKind)
	tn.await("condition=Ready", "pod/work")
	pod, err := tn.virtual.CoreV1().Pods("default").Get(t.Context(), "work", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	tn.apply(strings.ReplaceAll(`
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: by-hand-1, labels: {kubernetes.io/service-name: by-hand}}
addressType: IPv4
endpoints: [{addresses: [ADDRESS]}]
ports: [{port: 8080}]
`, "ADDRESS", pod.Status.PodIP))
	host := release.Release{Name: tn.release, Namespace: tn.namespace}
	testPatches(t, tn)
	testOldStreams(t, tn)
	testSecretsOfTheRelease(t, host)
	tn.kubectl("delete", "--wait=true", "networkpolicy/closed", "endpointslice/by-hand-1", "service/by-hand", "pod/work", "pvc/data", "secret/keys", "configmap/settings")
	eventually(t, "no copies are left", func(ctx context.Context) error {
		out := mustRun(t, hostKubectl("-n", tn.namespace, "get", "configmaps,secrets,pvc,endpointslices,networkpolicies,pods", "-l", "sublet.dev/namespace=default", "-o", "name"))
		if out != "" {
			return fmt.Errorf("there are: %s", out)
		}
		return ctx.Err()
	})
}

// testPatches changes each object, and waits until the host has the change.
func testPatches(t *testing.T, tn *tenant) {
	t.Helper()
	for _, what := range []string{"pods", "configmaps", "secrets", "persistentvolumeclaims", "services", "endpointslices", "networkpolicies"} {
		name := map[string]string{
			"pods": "work", "configmaps": "settings", "secrets": "keys", "persistentvolumeclaims": "data",
			"services": "by-hand", "endpointslices": "by-hand-1", "networkpolicies": "closed",
		}[what]
		tn.kubectl("label", what, name, "touched=yes")
	}
	tn.kubectl("patch", "pod", "work", "--subresource=resize", "-p", `{"spec":{"containers":[{"name":"main","resources":{"limits":{"cpu":"120m"}}}]}}`)
	tn.kubectl("debug", "work", "--image", testImage, "--image-pull-policy=IfNotPresent", "-c", "debugger", "--", "sleep", "1000")
	eventually(t, "the host has the labels, the limit and the container", func(ctx context.Context) error {
		for _, what := range []string{"pods", "configmaps", "secrets", "persistentvolumeclaims", "services", "endpointslices", "networkpolicies"} {
			out := mustRun(t, hostKubectl("-n", tn.namespace, "get", what, "-l", "sublet.dev/namespace=default", "-o", "yaml"))
			if !strings.Contains(out, "t.sublet.dev/touched-") {
				return fmt.Errorf("no label on the copy in %s", what)
			}
			if what == "pods" && (!strings.Contains(out, "120m") || !strings.Contains(out, "debugger")) {
				return fmt.Errorf("the pod has not changed")
			}
		}
		return ctx.Err()
	})
}

// testOldStreams attaches and forwards a port with SPDY, as older clients do.
func testOldStreams(t *testing.T, tn *tenant) {
	t.Helper()
	// None of them ends by itself, and a slow one must get to the host.
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	var streams sync.WaitGroup
	defer streams.Wait()
	for _, args := range [][]string{{"attach", "-i", "work"}, {"port-forward", "pod/work", ":8080"}} {
		for _, sockets := range []string{"false", "true"} {
			cmd := exec.CommandContext(ctx, "kubectl", append([]string{"--kubeconfig", tn.kubeconfig}, args...)...)
			cmd.Env = append(os.Environ(), "KUBECTL_REMOTE_COMMAND_WEBSOCKETS="+sockets, "KUBECTL_PORT_FORWARD_WEBSOCKETS="+sockets)
			stdin, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			streams.Go(func() {
				defer func() { _ = stdin.Close() }()
				if out, err := cmd.CombinedOutput(); err != nil && ctx.Err() == nil {
					t.Errorf("%s, websockets %s: %v: %s", args[0], sockets, err, out)
				}
			})
		}
	}
}

// testSecretsOfTheRelease damages each Secret whose content the server keeps.
func testSecretsOfTheRelease(t *testing.T, r release.Release) {
	t.Helper()
	secrets := hostClient.CoreV1().Secrets(r.Namespace)
	for _, name := range []string{r.Kubeconfig(), r.Operator()} {
		damaged := ""
		eventually(t, "Secret "+name+" is damaged", func(ctx context.Context) error {
			secret, err := secrets.Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			for key := range secret.Data {
				damaged = key
				delete(secret.Data, key)
				break
			}
			_, err = secrets.Update(ctx, secret, metav1.UpdateOptions{})
			return err
		})
		eventually(t, "Secret "+name+" is right again", func(ctx context.Context) error {
			secret, err := secrets.Get(ctx, name, metav1.GetOptions{})
			if err == nil && len(secret.Data[damaged]) == 0 {
				return fmt.Errorf("it has no %s", damaged)
			}
			return err
		})
	}
}
