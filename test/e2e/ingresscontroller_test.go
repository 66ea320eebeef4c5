//go:build e2e

package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/hostlab"
	"github.com/sublet-dev/sublet/test/certificates"
)

const (
	// controllerNamespace is the namespace of the ingress controller on the host.
	controllerNamespace = "e2e-ingress-controller"
	// controllerClass is the ingress class that it serves.
	controllerClass = "e2e-public"
	// controllerAddress is what it writes to the status of Ingresses.
	controllerAddress = "198.51.100.7"
	controllerImage   = "docker.io/library/traefik:v3.5.3"
)

// controllerManifest is Traefik with the permissions of its documentation. It serves Ingresses
// over TLS alone.
const controllerManifest = `
apiVersion: v1
kind: Namespace
metadata: {name: @NAME@}
---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: @CLASS@, labels: {e2e: shown}}
spec: {controller: traefik.io/ingress-controller}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: controller, namespace: @NAME@}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: @NAME@}
rules:
  - {apiGroups: [""], resources: [services, secrets, nodes], verbs: [get, list, watch]}
  - {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch]}
  - {apiGroups: [networking.k8s.io], resources: [ingresses, ingressclasses], verbs: [get, list, watch]}
  - {apiGroups: [networking.k8s.io], resources: [ingresses/status], verbs: [update]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: @NAME@}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: @NAME@}
subjects: [{kind: ServiceAccount, name: controller, namespace: @NAME@}]
---
apiVersion: v1
kind: Service
metadata: {name: controller, namespace: @NAME@}
spec: {selector: {app: controller}, ports: [{name: https, port: 443, targetPort: 8443}, {name: http, port: 80, targetPort: 8000}]}
---
apiVersion: v1
kind: Pod
metadata: {name: controller, namespace: @NAME@, labels: {app: controller}}
spec:
  serviceAccountName: controller
  terminationGracePeriodSeconds: 0
  containers:
    - name: main
      image: "@IMAGE@"
      imagePullPolicy: IfNotPresent
      args:
        - --global.checknewversion=false
        - --global.sendanonymoususage=false
        - --entrypoints.websecure.address=:8443
        - --entrypoints.websecure.http.tls=true
        - --providers.kubernetesingress=true
        - --providers.kubernetesingress.ingressendpoint.ip=@ADDRESS@
@ARGS@`

// TestIngressController runs the tests that start an ingress controller on the host, one after the other: it serves the
// Ingresses of all tenants.
func TestIngressController(t *testing.T) {
	t.Parallel()
	t.Run("Access", testAccess)
	t.Run("Certificates", testCertificates)
	t.Run("Gateways", testGateways)
	t.Run("IngressHosts", testIngressHosts)
}

// ingressController serves the Ingresses of the host over TLS.
type ingressController struct {
	address string         // of its Service, without a port
	roots   *x509.CertPool // of the certificates that clients trust
}

// startIngressController starts a controller on the host whose clients trust one certificate. It
// gets further arguments.
func startIngressController(t *testing.T, certificate []byte, args ...string) *ingressController {
	t.Helper()
	loadSoftware(t, hostlab.Traefik())
	further := ""
	for _, arg := range args {
		further += "        - " + arg + "\n"
	}
	manifest := strings.NewReplacer(
		"@NAME@", controllerNamespace, "@CLASS@", controllerClass, "@IMAGE@", controllerImage, "@ADDRESS@", controllerAddress, "@ARGS@", further,
	).Replace(controllerManifest)
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := hostKubectl("-n", controllerNamespace, "logs", "controller").CombinedOutput()
			t.Logf("ingress controller:\n%s", out)
		}
		cmd := hostKubectl("delete", "--ignore-not-found", "-f", "-")
		cmd.Stdin = strings.NewReader(manifest)
		_ = cmd.Run()
	})
	cmd := hostKubectl("apply", "-f", "-")
	cmd.Stdin = strings.NewReader(manifest)
	mustRun(t, cmd)
	service, err := hostClient.CoreV1().Services(controllerNamespace).Get(t.Context(), "controller", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c := &ingressController{address: service.Spec.ClusterIP, roots: x509.NewCertPool()}
	c.roots.AppendCertsFromPEM(certificate)
	return c
}

// answers waits until the controller serves a URL, with the trusted certificate if that is one
// of https, from a pod with that hostname.
func (c *ingressController) answers(t *testing.T, url, pod string) {
	t.Helper()
	transport := &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: c.roots, MinVersion: tls.VersionTLS12},
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			_, port, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			return (&net.Dialer{}).DialContext(ctx, network, net.JoinHostPort(c.address, port))
		},
	}
	client := &http.Client{Transport: transport, Timeout: 10 * time.Second}
	eventually(t, "answer of "+url, func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/hostname", nil)
		if err != nil {
			return err
		}
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		defer func() { _ = response.Body.Close() }()
		body, err := io.ReadAll(response.Body)
		if got := strings.TrimSpace(string(body)); err != nil || got != pod {
			return fmt.Errorf("got %q, want %q, %w", got, pod, err)
		}
		return nil
	})
}

// selfSigned returns a certificate of a host name and its key, in PEM.
func selfSigned(t *testing.T, name string) (certificate, key []byte) {
	t.Helper()
	pair := certificates.New(t, &x509.Certificate{DNSNames: []string{name}}, nil)
	return pair.CertPEM(), pair.KeyPEM(t)
}
