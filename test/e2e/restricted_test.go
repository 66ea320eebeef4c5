//go:build e2e

package e2e

import (
	"context"
	"fmt"
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
	const name = "tenant-restricted"
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}}}
	if _, err := hostClient.CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	tn := install(t, "restricted", name)
	testLeaks(t, tn)
	t.Run("Denied", func(t *testing.T) { testDeniedPods(t, tn.in(t)) })
	t.Run("Refused", func(t *testing.T) { testRefusedPods(t, tn.in(t)) })
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
