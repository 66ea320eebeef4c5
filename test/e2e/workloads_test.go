//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestTenant runs a day in the life of one tenant on the chart's default settings.
func TestTenant(t *testing.T) {
	t.Parallel()
	begin := time.Now()
	shop := install(t, "shop", "tenant-shop")
	figure("install_ready", time.Since(begin).Seconds(), "s")
	shop.apply(sleeper("first"))
	shop.await("jsonpath={.status.phase}=Running", "pod/first")
	figure("install_first_pod", time.Since(begin).Seconds(), "s")

	t.Run("Notes", func(t *testing.T) { testNotes(t, shop.in(t)) })
	t.Run("HelmTest", func(t *testing.T) { mustRun(t, helm("test", shop.release, "-n", shop.namespace)) })
	t.Run("Nodes", func(t *testing.T) { testNodes(t, shop.in(t)) })
	t.Run("Service", func(t *testing.T) { testService(t, shop.in(t)) })
	t.Run("Egress", func(t *testing.T) { testEgress(t, shop.in(t)) })
	t.Run("Streams", func(t *testing.T) { testStreams(t, shop.in(t)) })
	t.Run("Readiness", func(t *testing.T) { testReadiness(t, shop.in(t)) })
	t.Run("Config", func(t *testing.T) { testConfig(t, shop.in(t)) })
	t.Run("StatefulSet", func(t *testing.T) { testStatefulSet(t, shop.in(t)) })
	t.Run("Token", func(t *testing.T) { testToken(t, shop.in(t)) })
	t.Run("Events", func(t *testing.T) { testEvents(t, shop.in(t)) })
	t.Run("Kill", func(t *testing.T) { testKill(t, shop.in(t)) })
	t.Run("Rotation", func(t *testing.T) { testRotation(t, shop.in(t)) })
	t.Run("Uninstall", func(t *testing.T) { testUninstall(t, shop.in(t)) })
}

// in returns the tenant for a sub-test.
func (tn *tenant) in(t *testing.T) *tenant {
	sub := *tn
	sub.t = t
	return &sub
}

// sleeper returns a pod that only runs.
func sleeper(name string) string {
	return `
apiVersion: v1
kind: Pod
metadata: {name: ` + name + `, labels: {app: ` + name + `}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: main, image: "@IMAGE@", imagePullPolicy: IfNotPresent, command: [sh, -c, "echo hello from $HOSTNAME; sleep 100000"]}
`
}

// nodeFields returns the fields of a node that a tenant sees as they are.
func nodeFields(n *corev1.Node) map[string]any {
	info := n.Status.NodeInfo
	info.MachineID, info.SystemUUID, info.BootID = "", "", ""
	conditions := map[corev1.NodeConditionType]string{}
	for _, c := range n.Status.Conditions {
		conditions[c.Type] = string(c.Status) + " " + c.Reason
	}
	return map[string]any{
		"spec.taints":        n.Spec.Taints,
		"spec.unschedulable": n.Spec.Unschedulable,
		"labels":             n.Labels,
		"status.capacity":    n.Status.Capacity,
		"status.allocatable": n.Status.Allocatable,
		"status.conditions":  conditions,
		"status.addresses": slices.DeleteFunc(slices.Clone(n.Status.Addresses), func(a corev1.NodeAddress) bool {
			return a.Type == corev1.NodeExternalIP || a.Type == corev1.NodeExternalDNS
		}),
		"status.nodeInfo": info,
	}
}

func testNodes(t *testing.T, tn *tenant) {
	host, err := hostClient.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range host.Items {
		name := host.Items[i].Name
		eventually(t, "node "+name+" is equal on both sides", func(ctx context.Context) error {
			fresh, err := hostClient.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			virtual, err := tn.virtual.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			if diff := cmp.Diff(nodeFields(fresh), nodeFields(virtual)); diff != "" {
				return fmt.Errorf("-host +virtual:\n%s", diff)
			}
			if len(virtual.Status.Images) > 0 || virtual.Status.NodeInfo.MachineID != "" || len(virtual.Status.VolumesAttached) > 0 {
				return fmt.Errorf("the virtual node tells what is the host's own: %d images, machine ID %q",
					len(virtual.Status.Images), virtual.Status.NodeInfo.MachineID)
			}
			return nil
		})
	}
}

const webManifest = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: web
        image: "@IMAGE@"
        imagePullPolicy: IfNotPresent
        command: [sh, -c, "mkdir -p /tmp/www && hostname > /tmp/www/index.html && exec httpd -f -p 8080 -h /tmp/www"]
        ports: [{containerPort: 8080, name: http}]
        readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: http}]}
`

func testService(t *testing.T, tn *tenant) {
	tn.apply(webManifest)
	tn.rollout("deployment/web")
	virtualIP := strings.TrimSpace(tn.kubectl("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}"))
	hosts, err := hostClient.CoreV1().Services(tn.namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "sublet.dev/cluster"})
	if err != nil {
		t.Fatal(err)
	}
	if !serves(hosts.Items, virtualIP) {
		t.Errorf("the address %s of the virtual Service is none of the host's", virtualIP)
	}
	for _, address := range []string{virtualIP, "web", "web.default", "web.default.svc.cluster.local"} {
		got := tn.inPod("first", "wget -qO- http://"+address)
		if !strings.HasPrefix(got, "web-") {
			t.Errorf("http://%s from another pod: want a web pod's name, got %q", address, got)
		}
	}
	if got := tn.inPod("first", "nslookup kubernetes.default.svc.cluster.local"); !strings.Contains(got, "Address") {
		t.Errorf("kubernetes.default is not resolved: %q", got)
	}
}

func serves(services []corev1.Service, ip string) bool {
	for _, s := range services {
		if s.Spec.ClusterIP == ip {
			return true
		}
	}
	return false
}

// inPod runs a shell line in a pod until it succeeds, as a Service needs a moment
// to be routed, and returns what it prints.
func (tn *tenant) inPod(pod, line string) string {
	tn.t.Helper()
	var out string
	eventually(tn.t, line, func(context.Context) error {
		var stdout, stderr bytes.Buffer
		cmd := tn.command("exec", pod, "--", "sh", "-c", line)
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%w: %s%s", err, stdout.String(), stderr.String())
		}
		out = stdout.String()
		return nil
	})
	return out
}

func testStreams(t *testing.T, tn *tenant) {
	if got := tn.kubectl("logs", "first"); !strings.Contains(got, "hello from first") {
		t.Errorf("logs: want the pod's own host name, got %q", got)
	}
	for _, socket := range []string{"true", "false"} {
		cmd := tn.command("exec", "-i", "first", "--", "sh", "-c", "cat; echo to stderr >&2; exit 7")
		cmd.Env = append(os.Environ(), "KUBECTL_REMOTE_COMMAND_WEBSOCKETS="+socket)
		cmd.Stdin = strings.NewReader("through stdin\n")
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		err := cmd.Run()
		var exit *exec.ExitError
		ok := errors.As(err, &exit)
		if stdout.String() != "through stdin\n" || !strings.Contains(stderr.String(), "to stderr") || !ok || exit.ExitCode() != 7 {
			t.Errorf("exec, websockets %s: %v, stdout %q, stderr %q", socket, err, stdout.String(), stderr.String())
		}
	}

	tn.apply(`
apiVersion: v1
kind: Pod
metadata: {name: chatty}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: main, image: "@IMAGE@", imagePullPolicy: IfNotPresent, stdin: true, command: [sh, -c, "i=0; while read line; do i=$((i+1)); echo line $i: $line; done; sleep 100000"]}
`)
	tn.await("condition=Ready", "pod/chatty")
	follow := tn.command("logs", "-f", "chatty")
	pipe, err := follow.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := follow.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = follow.Process.Kill(); _ = follow.Wait() })
	attach := tn.command("attach", "-i", "chatty")
	stdin, err := attach.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := attach.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = attach.Process.Kill(); _ = attach.Wait() })
	if _, err := io.WriteString(stdin, "typed\n"); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(pipe).ReadString('\n'); err != nil || line != "line 1: typed\n" {
		t.Errorf("what attach sends must come out of logs -f: %q, %v", line, err)
	}

	file := filepath.Join(t.TempDir(), "note")
	if err := os.WriteFile(file, []byte("copied"), 0o600); err != nil {
		t.Fatal(err)
	}
	tn.kubectl("cp", file, "first:/tmp/note")
	back := filepath.Join(t.TempDir(), "back")
	tn.kubectl("cp", "first:/tmp/note", back)
	if got, err := os.ReadFile(back); err != nil || string(got) != "copied" {
		t.Errorf("cp there and back: %q, %v", got, err)
	}
	testPortForward(t, tn)
}

var forwarding = regexp.MustCompile(`Forwarding from 127\.0\.0\.1:(\d+)`)

func testPortForward(t *testing.T, tn *tenant) {
	cmd := tn.command("port-forward", "service/web", ":80")
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line, err := bufio.NewReader(pipe).ReadString('\n')
	port := forwarding.FindStringSubmatch(line)
	if port == nil {
		t.Fatalf("port-forward said %q, %v", line, err)
	}
	for range 3 {
		response, err := http.Get("http://127.0.0.1:" + port[1])
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(response.Body)
		response.Body.Close()
		if !strings.HasPrefix(string(body), "web-") {
			t.Errorf("through the forwarded port: %q", body)
		}
	}
}

func testConfig(t *testing.T, tn *tenant) {
	tn.apply(`
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {colour: red}
---
apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData: {word: swordfish}
---
apiVersion: v1
kind: Pod
metadata: {name: reader}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: main
    image: "@IMAGE@"
    imagePullPolicy: IfNotPresent
    command: [sleep, "100000"]
    env:
    - {name: COLOUR, valueFrom: {configMapKeyRef: {name: settings, key: colour}}}
    - {name: WORD, valueFrom: {secretKeyRef: {name: keys, key: word}}}
    - {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
    volumeMounts: [{name: settings, mountPath: /settings}, {name: keys, mountPath: /keys}]
  volumes:
  - {name: settings, configMap: {name: settings}}
  - {name: keys, secret: {secretName: keys}}
`)
	tn.await("condition=Ready", "pod/reader")
	got := tn.inPod("reader", "echo $COLOUR $WORD $POD $NAMESPACE $(cat /settings/colour) $(cat /keys/word)")
	if want := "red swordfish reader default red swordfish\n"; got != want {
		t.Errorf("ConfigMap, Secret and pod fields: want %q, got %q", want, got)
	}
	tn.kubectl("patch", "configmap", "settings", "-p", `{"data":{"colour":"blue"}}`)
	tn.kubectl("patch", "secret", "keys", "-p", `{"stringData":{"word":"marlin"}}`)
	tn.inPod("reader", "test $(cat /settings/colour) = blue && test $(cat /keys/word) = marlin")
}

func testStatefulSet(t *testing.T, tn *tenant) {
	tn.apply(`
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {clusterIP: None, selector: {app: db}, ports: [{port: 80}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - {name: main, image: "@IMAGE@", imagePullPolicy: IfNotPresent, command: [sh, -c, "date +%s%N >> /data/starts; sleep 100000"], volumeMounts: [{name: data, mountPath: /data}]}
  volumeClaimTemplates:
  - {metadata: {name: data}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 16Mi}}}}
`)
	tn.rollout("statefulset/db")
	first := tn.inPod("db-0", "head -n 1 /data/starts")
	tn.inPod("first", "nslookup db-0.db.default.svc.cluster.local")
	tn.kubectl("delete", "pod", "db-0")
	tn.rollout("statefulset/db")
	tn.await("condition=Ready", "pod/db-0")
	if again := tn.inPod("db-0", "head -n 1 /data/starts"); again != first {
		t.Errorf("the claim must keep its data over a restart of the pod: wrote %q, read %q", first, again)
	}
	claim := tn.kubectl("get", "pvc", "data-db-0", "-o", "jsonpath={.status.phase} {.spec.volumeName}")
	if !strings.HasPrefix(claim, "Bound ") {
		t.Errorf("the virtual claim: want it Bound, got %q", claim)
	}
	tn.kubectl("delete", "statefulset/db", "service/db", "pvc/data-db-0")
}

func testToken(t *testing.T, tn *tenant) {
	tn.kubectl("create", "clusterrolebinding", "viewer", "--clusterrole=view", "--serviceaccount=default:default")
	tn.apply(`
apiVersion: v1
kind: Pod
metadata: {name: caller}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: main, image: "@IMAGE@", imagePullPolicy: IfNotPresent}]
`)
	tn.await("condition=Ready", "pod/caller")
	got := tn.inPod("caller", "testserver get 'http://localhost:8080/api?path=/api/v1/namespaces/default/pods/caller'")
	if pod := decode[corev1.Pod](t, got); pod.Name != "caller" {
		t.Errorf("a pod that reads itself with its token: got %q", got)
	}
}

func testEvents(t *testing.T, tn *tenant) {
	eventually(t, "the kubelet's events reach the tenant", func(context.Context) error {
		out, err := tn.command("get", "events", "--field-selector", "involvedObject.name=first,reason=Started").Output()
		if err == nil && !strings.Contains(string(out), "Started") {
			err = fmt.Errorf("got %q", out)
		}
		return err
	})
}
