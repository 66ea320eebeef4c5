//go:build e2e

package e2e

import (
	"context"
	"net"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// passingClass is an ingress class whose controller passes TLS through, by the annotations that the
// chart has by default.
const passingClass = `
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: e2e-access}
spec: {controller: k8s.io/ingress-nginx}
`

// startPassingController starts Traefik, which serves that class too.
func startPassingController(t *testing.T) *ingressController {
	t.Helper()
	certificate, _ := selfSigned(t, "other.access.example")
	controller := startIngressController(t, certificate,
		"--experimental.kubernetesingressnginx=true", "--providers.kubernetesingressnginx=true")
	applyOnHost(t, passingClass)
	return controller
}

// testIngressOfAPI uses the exported kubeconfig, which leads to the host name of the Ingress. The client certificate
// is accepted, as the controller passes TLS through.
func testIngressOfAPI(t *testing.T, tn *tenant, controller *ingressController) {
	secret, err := hostClient.CoreV1().Secrets(tn.namespace).Get(t.Context(), tn.release+"-kubeconfig", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(secret.Data["config"])
	if err != nil {
		t.Fatal(err)
	}
	if config.Host != "https://"+exportHost || len(config.CertData) == 0 || config.Insecure {
		t.Fatalf("the kubeconfig leads to %s, and its certificate has %d bytes", config.Host, len(config.CertData))
	}
	config.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, net.JoinHostPort(controller.address, "443"))
	}
	client := kubernetes.NewForConfigOrDie(config)
	eventually(t, "an answer through the Ingress", func(ctx context.Context) error {
		_, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		return err
	})
}
