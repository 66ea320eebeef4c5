//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// testEgress lets the API server connect to the tenant's pods, and to what is not theirs.
// It needs the Deployment and the Service of testService.
func testEgress(t *testing.T, tn *tenant) {
	pods, err := tn.virtual.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{LabelSelector: "app=web"})
	if err != nil || len(pods.Items) == 0 {
		t.Fatalf("there are %d pods of the Deployment: %v", len(pods.Items), err)
	}
	for _, path := range []string{
		"/api/v1/namespaces/default/pods/" + pods.Items[0].Name + ":8080/proxy/",
		"/api/v1/namespaces/default/services/web:80/proxy/",
	} {
		if got := tn.kubectl("get", "--raw", path); !strings.HasPrefix(got, "web-") {
			t.Errorf("%s: want a web pod's name, got %q", path, got)
		}
	}

	// The pod speaks HTTP, which the API server finds out when it has connected.
	port := int32(80)
	tn.awaitWebhook(admissionregistrationv1.WebhookClientConfig{
		Service: &admissionregistrationv1.ServiceReference{Namespace: "default", Name: "web", Port: &port},
	}, "server gave HTTP response to HTTPS client")

	service, err := hostClient.CoreV1().Services("default").Get(t.Context(), "kubernetes", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{
		service.Spec.ClusterIP + ":443", "127.0.0.1:8444", "169.254.169.254:80", "kubernetes.default.svc.cluster.local:443",
	} {
		url := "https://" + address + "/"
		tn.awaitWebhook(admissionregistrationv1.WebhookClientConfig{URL: &url}, "not allowed, because the control plane")
	}
	node, err := hostClient.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil || len(node.Items) == 0 {
		t.Fatalf("there are no nodes: %v", err)
	}
	var stderr bytes.Buffer
	cmd := tn.command("get", "--raw", "/api/v1/nodes/https:"+node.Items[0].Name+":6443/proxy/version")
	cmd.Stderr = &stderr
	if err := cmd.Run(); err == nil || !strings.Contains(stderr.String(), "is not served") {
		t.Errorf("a port of a node: got %v, %s, want a denial", err, stderr.String())
	}
}

// awaitWebhook registers a webhook and waits until a create ends with that text.
func (tn *tenant) awaitWebhook(target admissionregistrationv1.WebhookClientConfig, want string) {
	tn.t.Helper()
	fail, none, seconds := admissionregistrationv1.Fail, admissionregistrationv1.SideEffectClassNone, int32(5)
	webhooks := tn.virtual.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	webhook, err := webhooks.Create(tn.t.Context(), &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "egress-"},
		Webhooks: []admissionregistrationv1.ValidatingWebhook{{
			Name: "egress.example.com", FailurePolicy: &fail, SideEffects: &none, TimeoutSeconds: &seconds,
			AdmissionReviewVersions: []string{"v1"}, ClientConfig: target,
			ObjectSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"egress": "ask"}},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
			}},
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		tn.t.Fatal(err)
	}
	defer func() {
		if err := webhooks.Delete(tn.t.Context(), webhook.Name, metav1.DeleteOptions{}); err != nil {
			tn.t.Error(err)
		}
	}()
	eventually(tn.t, "the webhook ends with "+want, func(ctx context.Context) error {
		_, err := tn.virtual.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{GenerateName: "egress-", Labels: map[string]string{"egress": "ask"}},
		}, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err == nil || !strings.Contains(err.Error(), want) {
			return fmt.Errorf("got %q", fmt.Sprint(err))
		}
		return nil
	})
}
