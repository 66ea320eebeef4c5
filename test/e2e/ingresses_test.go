//go:build e2e

package e2e

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/api/labels"
)

const shopIngress = `
apiVersion: v1
kind: Secret
metadata: {name: certificate}
data: {tls.crt: @CERTIFICATE@, tls.key: @KEY@}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: shop}
spec:
  ingressClassName: e2e-public
  tls: [{hosts: [www.shop.example.com], secretName: certificate}]
  rules:
  - host: www.shop.example.com
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: shop, port: {number: 80}}}}]}
---
apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {selector: {app: shop}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: shop, labels: {app: shop}}
spec:
  hostname: @OWNER@
  terminationGracePeriodSeconds: 0
  containers: [{name: main, image: "@IMAGE@", imagePullPolicy: IfNotPresent, args: [serve]}]
`

// testIngressHosts gives two tenants the same pattern of host names. The first one gets a
// name, with the permissions and the fence of the chart. Traefik on the host serves it over
// TLS, through the network policies of the release. The second one reads why it does not get
// the name, and gets it when the first one has left it. Neither gets a name of somebody else.
func testIngressHosts(t *testing.T) {
	values := []string{
		"sync.toHost.ingresses.enabled=true", "policies.ingresses.hosts={*.shop.example.com}",
		"sync.fromHost.ingressClasses.enabled=true", "sync.fromHost.ingressClasses.selector.matchLabels.e2e=shown",
		admitsFrom(controllerNamespace),
	}
	const name = "www.shop.example.com"
	certificate, key := selfSigned(t, name)
	manifest := strings.NewReplacer(
		"@CERTIFICATE@", base64.StdEncoding.EncodeToString(certificate), "@KEY@", base64.StdEncoding.EncodeToString(key),
	).Replace(shopIngress)
	controller := startIngressController(t, certificate)
	first := install(t, "ingressa", "tenant-ingressa", values...)
	first.apply(strings.ReplaceAll(manifest, "@OWNER@", "first"))
	var copied networkingv1.Ingress
	eventually(t, "copy that has its host name", func(ctx context.Context) error {
		all, err := first.hostIngresses(ctx)
		if err != nil || len(all) != 1 || all[0].Annotations[labels.ClaimedHosts] != name {
			return fmt.Errorf("the host has %v, %w", all, err)
		}
		copied = all[0]
		return nil
	})
	eventually(t, "copy of the Secret", func(ctx context.Context) error {
		_, err := hostClient.CoreV1().Secrets(first.namespace).Get(ctx, copied.Spec.TLS[0].SecretName, metav1.GetOptions{})
		return err
	})
	first.await("jsonpath={.status.loadBalancer.ingress[0].ip}="+controllerAddress, "ingress/shop")
	controller.answers(t, "https://"+name, "first")

	second := install(t, "ingressb", "tenant-ingressb", values...)
	second.apply(strings.ReplaceAll(manifest, "@OWNER@", "second"))
	eventually(t, "Event about the host name", func(context.Context) error {
		if events := second.kubectl("get", "events", "-o", "wide"); !strings.Contains(events, "www.shop.example.com belongs to") {
			return fmt.Errorf("%s", events)
		}
		return nil
	})
	if all, err := second.hostIngresses(t.Context()); err != nil || len(all) > 0 {
		t.Errorf("the second tenant has the host name of the first one: %v, %v", all, err)
	}
	cmd := second.command("apply", "-f", "-")
	cmd.Stdin = strings.NewReader(strings.NewReplacer("www.shop", "bank", "@IMAGE@", testImage, "@OWNER@", "second").Replace(manifest))
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "policies.ingresses.hosts") {
		t.Errorf("a host name that is not the tenant's must be denied with the setting: %v: %s", err, out)
	}

	controller.answers(t, "https://"+name, "first")

	first.kubectl("delete", "ingress", "shop")
	// It is tried again within a minute.
	controller.answers(t, "https://"+name, "second")
	if all, err := first.hostIngresses(t.Context()); err != nil || len(all) > 0 {
		t.Errorf("the copy of a deleted Ingress stays: %v, %v", all, err)
	}
}

// hostIngresses returns the Ingresses that the host has of the tenant.
func (tn *tenant) hostIngresses(ctx context.Context) ([]networkingv1.Ingress, error) {
	list, err := hostClient.NetworkingV1().Ingresses(tn.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}
