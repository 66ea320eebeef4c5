//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestQuota fills each limit of a virtual cluster. The tenant reads used, asked and hard,
// and recovers. Neither the control plane nor an operator is ever kept from their work.
func TestQuota(t *testing.T) {
	t.Parallel()
	tn := install(t, "quota", "quota",
		"policies.resourceQuota.quota.pods=3",
		`policies.resourceQuota.quota.services\.nodeports=1`,
		"policies.objects.count.configmaps=4", // The CA of the cluster and the variables of Services, which each pod has, are two.
		"policies.objects.bytes.configmaps=1Mi",
		"policies.streams.max=3",
	)
	for _, step := range []struct {
		name string
		run  func(*testing.T, *tenant)
	}{
		{"Pods", testQuotaOfPods},
		{"ControlPlaneComesBack", testFullQuotaDoesNotBrick},
		{"Mirror", testLimitsMirror},
		{"NodePorts", testQuotaOfNodePorts},
		{"Streams", testLimitOfStreams},
		{"Copies", testLimitOfCopies},
		{"ReadOnly", testReadOnly},
	} {
		t.Run(step.name, func(t *testing.T) { step.run(t, tn.in(t)) })
	}
}

// running returns how many pods of the tenant run.
func (tn *tenant) running(ctx context.Context) (int, error) {
	pods, err := tn.virtual.CoreV1().Pods(metav1.NamespaceDefault).List(ctx, metav1.ListOptions{LabelSelector: "quota=pods"})
	if err != nil {
		return 0, err
	}
	count := 0
	for i := range pods.Items {
		if pods.Items[i].Status.Phase == corev1.PodRunning {
			count++
		}
	}
	return count, nil
}

// awaitRunning waits until that many pods of the tenant run.
func (tn *tenant) awaitRunning(want int) {
	tn.t.Helper()
	eventually(tn.t, fmt.Sprintf("%d pods run", want), func(ctx context.Context) error {
		count, err := tn.running(ctx)
		if err == nil && count != want {
			err = fmt.Errorf("%d pods run", count)
		}
		return err
	})
}

// awaitEvent waits until an Event about an object has all these texts.
func (tn *tenant) awaitEvent(object string, texts ...string) {
	tn.t.Helper()
	eventually(tn.t, "an Event about "+object, func(ctx context.Context) error {
		events, err := tn.virtual.CoreV1().Events(metav1.NamespaceDefault).List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=" + object})
		if err != nil {
			return err
		}
		var messages []string
		for i := range events.Items {
			message := events.Items[i].Message
			if hasAll(message, texts) {
				return nil
			}
			messages = append(messages, message)
		}
		return fmt.Errorf("none has all of %q, there are %q", texts, messages)
	})
}

// hasAll reports whether a message has all these texts.
func hasAll(message string, texts []string) bool {
	for _, text := range texts {
		if !strings.Contains(message, text) {
			return false
		}
	}
	return true
}

// quotaPod returns a pod that the quota counts.
func quotaPod(name string) string {
	return strings.Replace(sleeper(name), "labels: {app: "+name+"}", "labels: {quota: pods}", 1)
}

// testQuotaOfPods creates two pods too many. They wait, are told why, and run when the others
// are gone.
func testQuotaOfPods(t *testing.T, tn *tenant) {
	for i := range 3 {
		tn.apply(quotaPod(fmt.Sprintf("first-%d", i)))
	}
	tn.awaitRunning(3)
	tn.apply(quotaPod("waiting-0"))
	tn.apply(quotaPod("waiting-1"))
	tn.awaitEvent("waiting-0", "exceeded quota", "requested: pods=1", "used: pods=3", "limited: pods=3")
	eventually(t, "the pod's condition has the reason", func(ctx context.Context) error {
		pod, err := tn.virtual.CoreV1().Pods(metav1.NamespaceDefault).Get(ctx, "waiting-0", metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, c := range pod.Status.Conditions {
			if hasAll(c.Message, []string{"exceeded quota", "used: pods=3"}) {
				return nil
			}
		}
		return fmt.Errorf("conditions are %v", pod.Status.Conditions)
	})
	tn.kubectl("delete", "pod", "first-0", "--wait=false")
	tn.awaitRunning(3)
}

// upgrade sets values of the release, and returns when the control plane has restarted.
func (tn *tenant) upgrade(values ...string) {
	tn.t.Helper()
	args := []string{
		"upgrade", tn.release, filepath.Join(root, "chart"), "-n", tn.namespace, "--reuse-values",
		"--wait", "--timeout", (3 * patience).String(), // Replicas restart one after the other.
	}
	for _, value := range values {
		args = append(args, "--set", value)
	}
	mustRun(tn.t, helm(args...))
	tn.awaitReady()
}

// testFullQuotaDoesNotBrick restarts the control plane while the quota is used up, and again
// after an operator has lowered it below what is used.
func testFullQuotaDoesNotBrick(t *testing.T, tn *tenant) {
	tn.restart()
	const quota = "policies.resourceQuota.quota."
	tn.upgrade(quota+"pods=1", quota+`requests\.cpu=1m`, quota+`requests\.memory=1Mi`)
	tn.restart()
	tn.awaitRunning(3)
	tn.upgrade(quota+"pods=10", quota+`requests\.cpu=10`, quota+`requests\.memory=10Gi`)
	tn.awaitRunning(4)
}

// testLimitsMirror reads what the tenant sees of the limits, and tries to change it.
func testLimitsMirror(t *testing.T, tn *tenant) {
	eventually(t, "the tenant sees what is used", func(ctx context.Context) error {
		shown, err := tn.virtual.CoreV1().ConfigMaps(metav1.NamespaceSystem).Get(ctx, "sublet-limits", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if !strings.Contains(shown.Data["resourceQuota"], "pods:\n  hard: \"10\"\n  used: \"4\"\n") {
			return fmt.Errorf("it is %v", shown.Data)
		}
		return nil
	})
	for _, args := range [][]string{
		{"-n", "kube-system", "delete", "configmap", "sublet-limits"},
		{"-n", "kube-system", "delete", "configmaps", "--all"},
		{"-n", "kube-system", "annotate", "configmap", "sublet-limits", "a=b"},
	} {
		out, err := tn.command(args...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "shows the limits that the host has set") {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
}

// testQuotaOfNodePorts creates a Service too many. It is denied at once.
func testQuotaOfNodePorts(t *testing.T, tn *tenant) {
	tn.kubectl("create", "service", "nodeport", "one", "--tcp=80")
	out, err := tn.command("create", "service", "nodeport", "two", "--tcp=80").CombinedOutput()
	if err == nil || !hasAll(string(out), []string{"exceeded quota", "requested: services.nodeports=1", "used: services.nodeports=1", "limited: services.nodeports=1"}) {
		t.Errorf("a node port too many: %v\n%s", err, out)
	}
	tn.kubectl("delete", "service", "one")
	eventually(t, "there is room for another node port", func(ctx context.Context) error {
		out, err := exec.CommandContext(ctx, "kubectl", "--kubeconfig", tn.kubeconfig, "create", "service", "nodeport", "two", "--tcp=80").CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}

// testLimitOfStreams follows a log as often as may be. One more is answered at once, and
// there is room again when one ends.
func testLimitOfStreams(t *testing.T, tn *tenant) {
	openLog := func(ctx context.Context) (io.ReadCloser, error) {
		return tn.virtual.CoreV1().Pods(metav1.NamespaceDefault).
			GetLogs("first-1", &corev1.PodLogOptions{Follow: true}).MaxRetries(0).Stream(ctx)
	}
	var open []io.Closer
	for range 3 {
		log, err := openLog(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, log)
	}
	defer func() {
		for _, log := range open {
			_ = log.Close()
		}
	}()
	// The API server passes on the text of a bad request alone.
	if _, err := openLog(t.Context()); !apierrors.IsBadRequest(err) || !strings.Contains(err.Error(), "policies.streams.max") {
		t.Errorf("a log too many is answered with: %v", err)
	}
	_ = open[0].Close()
	eventually(t, "there is room for another log", func(ctx context.Context) error {
		log, err := openLog(ctx)
		if err == nil {
			err = log.Close()
		}
		return err
	})
}

// testLimitOfCopies refers to more ConfigMaps than may be on the host, by number and by size.
func testLimitOfCopies(t *testing.T, tn *tenant) {
	volumes := ""
	for _, name := range []string{"one", "two", "three"} {
		tn.kubectl("create", "configmap", name, "--from-literal=k=v")
		volumes += "{configMap: {name: " + name + ", items: [{key: k, path: " + name + "}]}}, "
	}
	refer := func(pod, sources string) {
		tn.apply(strings.Replace(sleeper(pod), "spec:\n", "spec:\n  volumes: [{name: all, projected: {sources: ["+sources+"]}}]\n", 1))
	}
	refer("refers", volumes)
	eventually(t, "one of the ConfigMaps is refused", func(ctx context.Context) error {
		events, err := tn.virtual.CoreV1().Events(metav1.NamespaceDefault).List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.kind=ConfigMap"})
		if err != nil {
			return err
		}
		for i := range events.Items {
			if hasAll(events.Items[i].Message, []string{"count of configmaps: used 4, asked 1, hard 4", "policies.objects.count.configmaps"}) {
				return nil
			}
		}
		return fmt.Errorf("no Event of %d has used, asked and hard", len(events.Items))
	})
	tn.kubectl("delete", "pod", "refers")
	for _, name := range []string{"large", "larger"} {
		large := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"k": strings.Repeat("x", 900<<10)}}
		if _, err := tn.virtual.CoreV1().ConfigMaps(metav1.NamespaceDefault).Create(t.Context(), large, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	refer("large", "{configMap: {name: large}}")
	tn.await("condition=Ready", "pod/large")
	refer("larger", "{configMap: {name: larger}}")
	tn.awaitEvent("larger", "bytes of configmaps", "hard 1Mi", "policies.objects.bytes.configmaps")
	tn.kubectl("delete", "pod", "large")
	tn.await("condition=Ready", "pod/larger")
}

// testReadOnly lets an operator make the cluster read-only. What runs keeps running, and the
// tenant can only read and delete.
func testReadOnly(t *testing.T, tn *tenant) {
	tn.upgrade("policies.readOnly=true")
	out, err := tn.command("create", "configmap", "late", "--from-literal=a=b").CombinedOutput()
	if err == nil || !hasAll(string(out), []string{"read-only", "policies.readOnly"}) {
		t.Errorf("create: %v\n%s", err, out)
	}
	out, err = tn.command("annotate", "pod", "larger", "a=b").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "policies.readOnly") {
		t.Errorf("update: %v\n%s", err, out)
	}
	out, err = tn.command("create", "service", "clusterip", "late", "--tcp=80").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "policies.readOnly") {
		t.Errorf("create of a Service: %v\n%s", err, out)
	}
	out, err = tn.command("exec", "larger", "--", "true").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "policies.readOnly") {
		t.Errorf("exec: %v\n%s", err, out)
	}
	tn.kubectl("auth", "can-i", "get", "pods")
	tn.kubectl("delete", "pod", "larger")
	tn.kubectl("delete", "configmap", "larger")
	services, err := hostClient.CoreV1().Services(tn.namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "sublet.dev/cluster"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range services.Items {
		if services.Items[i].Annotations["sublet.dev/virtual-name"] == "late" {
			t.Error("a denied Service is on the host")
		}
	}
}
