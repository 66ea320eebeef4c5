//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// testRotation rotates the certificate authority by the command in the pod. Clients and
// pods from before stay connected, and learn the new authority. It needs the pod of
// testToken.
func testRotation(t *testing.T, tn *tenant) {
	const begin = "-----BEGIN CERTIFICATE-----"
	restarts := func(ctx context.Context) (int32, error) {
		pod, err := hostClient.CoreV1().Pods(tn.namespace).Get(ctx, tn.controlPlanePod(), metav1.GetOptions{})
		if err != nil {
			return 0, err
		}
		if !isReady(pod) {
			return 0, errors.New("the control plane is not ready")
		}
		return pod.Status.ContainerStatuses[0].RestartCount, nil
	}
	var before int32
	eventually(t, "the control plane is ready", func(ctx context.Context) (err error) {
		before, err = restarts(ctx)
		return err
	})
	// The command ends with the container that it restarts.
	out, _ := hostKubectl("-n", tn.namespace, "exec", tn.controlPlanePod(), "--", "/sublet-server", "certs", "rotate-ca").CombinedOutput()
	if !strings.Contains(string(out), "Restarting the control plane.") {
		t.Fatalf("rotate-ca: %s", out)
	}
	eventually(t, "the control plane is ready with the new authority", func(ctx context.Context) error {
		now, err := restarts(ctx)
		if err != nil {
			return err
		}
		if now <= before {
			return fmt.Errorf("there were %d restarts", now)
		}
		secret, err := hostClient.CoreV1().Secrets(tn.namespace).Get(ctx, tn.release+"-kubeconfig", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if n := bytes.Count(secret.Data["certificate-authority"], []byte(begin)); n != 2 {
			return fmt.Errorf("the kubeconfig trusts %d authorities, want 2", n)
		}
		return nil
	})
	eventually(t, "the old kubeconfig works", func(ctx context.Context) error {
		_, err := tn.virtual.CoreV1().Pods("default").List(ctx, metav1.ListOptions{})
		return err
	})
	tn.inPod("caller", "test $(grep -c BEGIN /var/run/secrets/kubernetes.io/serviceaccount/ca.crt) = 2")
	got := tn.inPod("caller", "testserver get 'http://localhost:8080/api?path=/api/v1/namespaces/default/pods/caller'")
	if pod := decode[corev1.Pod](t, got); pod.Name != "caller" {
		t.Errorf("a pod from before the rotation reads itself with its token: got %q", got)
	}
}
