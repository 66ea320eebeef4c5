//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// TestRestrictedNamespace installs the chart in a host namespace that enforces the standard
// restricted. The control plane and pods that meet it run there. Others are refused, whatever
// the policies allow, and nothing leaks that would not elsewhere.
func TestRestrictedNamespace(t *testing.T) {
	t.Parallel()
	const name = "tenant-restricted"
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}}}
	if _, err := hostClient.CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	t.Run("WrongExpression", func(t *testing.T) { testWrongExpression(t, name) })
	tn := install(t, "restricted", name, patchOfPods("value")...)
	testLeaks(t, tn)
	t.Run("Denied", func(t *testing.T) { testDeniedPods(t, tn.in(t)) })
	t.Run("Refused", func(t *testing.T) { testRefusedPods(t, tn.in(t)) })
}

// patchOfPods returns settings with a patch.
func patchOfPods(expression string) []string {
	const patch = "sync.toHost.pods.patches[0]."
	return []string{patch + "path=spec.terminationGracePeriodSeconds", patch + "expression=" + expression}
}

// testWrongExpression installs a patch that does not compile. Helm prints why, and creates nothing
// else of the release.
func testWrongExpression(t *testing.T, namespace string) {
	args := []string{"install", "wrong", filepath.Join(root, "chart"), "-n", namespace}
	for _, v := range append(testValues(), patchOfPods("val")...) {
		args = append(args, "--set", v)
	}
	t.Cleanup(func() { _ = helm("uninstall", "wrong", "-n", namespace, "--ignore-not-found").Run() })
	out, err := helm(args...).CombinedOutput()
	for _, want := range []string{"sync.toHost.pods.patches[0].expression", "line 1, column 1: undeclared reference to 'val'"} {
		if err == nil || !strings.Contains(string(out), want) {
			t.Errorf("want a refusal with %q: %v\n%s", want, err, out)
		}
	}
	sets, err := hostClient.AppsV1().StatefulSets(namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	secrets, err := hostClient.CoreV1().Secrets(namespace).List(t.Context(), metav1.ListOptions{FieldSelector: "type=Opaque"})
	if err != nil {
		t.Fatal(err)
	}
	if len(sets.Items)+len(secrets.Items) > 0 {
		t.Errorf("the release has %d StatefulSets and %d Secrets, want none", len(sets.Items), len(secrets.Items))
	}
	if err := hostClient.CoreV1().Pods(namespace).Delete(t.Context(), "wrong-check", metav1.DeleteOptions{}); err != nil {
		t.Errorf("the pod that checked is not kept: %v", err)
	}
}

// testDeniedPods creates pods that reach the node. The virtual API server denies them, before
// the host could.
func testDeniedPods(t *testing.T, tn *tenant) {
	for reason, spec := range map[string]string{
		"files of the node":      `{"volumes":[{"name":"v","hostPath":{"path":"/"}}],"containers":[{"name":"main","image":"x"}]}`,
		"network of the node":    `{"hostNetwork":true,"containers":[{"name":"main","image":"x"}]}`,
		"devices of the node":    `{"containers":[{"name":"main","image":"x","securityContext":{"privileged":true}}]}`,
		"a port of the node":     `{"containers":[{"name":"main","image":"x","ports":[{"containerPort":80,"hostPort":10250}]}]}`,
		"nodes that are tainted": `{"tolerations":[{"operator":"Exists"}],"containers":[{"name":"main","image":"x"}]}`,
	} {
		out, err := tn.command("run", "denied", "--image=x", `--overrides={"spec":`+spec+`}`).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "policies.pod") {
			t.Errorf("%s: want a denial with the setting: %v, %s", reason, err, out)
		}
	}
}

// testRefusedPods runs pods and a debug container that the policies allow and the namespace does not.
func testRefusedPods(t *testing.T, tn *tenant) {
	tn.kubectl("run", "root", "--image", testImage, "--image-pull-policy=IfNotPresent", "--command", "--", "sleep", "1000")
	pods, err := tn.virtual.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{LabelSelector: "app=web"})
	if err != nil || len(pods.Items) == 0 {
		t.Fatalf("no pod: %v", err)
	}
	web := pods.Items[0].Name
	debug := fmt.Appendf(nil, `{"spec":{"ephemeralContainers":[{"name":"root","image":%q,"command":["sleep","1000"]}]}}`, testImage)
	if _, err := tn.virtual.CoreV1().Pods("default").Patch(t.Context(), web, types.StrategicMergePatchType, debug, metav1.PatchOptions{}, "ephemeralcontainers"); err != nil {
		t.Fatal(err)
	}
	for _, pod := range []string{"root", web} {
		eventually(t, "an Event that the host refuses "+pod, func(ctx context.Context) error {
			events, err := tn.virtual.CoreV1().Events("default").List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=" + pod})
			if err != nil {
				return err
			}
			for _, event := range events.Items {
				if strings.Contains(event.Message, "violates PodSecurity") {
					return nil
				}
			}
			return fmt.Errorf("there are %d others", len(events.Items))
		})
	}
	hosts, err := hostClient.CoreV1().Pods(tn.namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range hosts.Items {
		if len(host.Spec.EphemeralContainers) > 0 || strings.HasPrefix(host.Name, "root-") {
			t.Errorf("the host runs %s", host.Name)
		}
	}
}
