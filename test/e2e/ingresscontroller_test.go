//go:build e2e

package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ingressController serves the Ingresses of the host over TLS, from its node. It does the least
// that a controller does: it asks the host at each request, and takes the first address of a
// Service. The oldest Ingress with a host name has it.
type ingressController struct {
	server *httptest.Server
	roots  *x509.CertPool // of the certificates that clients trust
}

// startIngressController starts a controller whose clients trust one certificate.
func startIngressController(t *testing.T, certificate []byte) *ingressController {
	t.Helper()
	c := &ingressController{roots: x509.NewCertPool()}
	c.roots.AppendCertsFromPEM(certificate)
	c.server = httptest.NewUnstartedServer(c)
	c.server.TLS = &tls.Config{GetCertificate: c.certificate, MinVersion: tls.VersionTLS12}
	c.server.StartTLS()
	t.Cleanup(c.server.Close)
	return c
}

// find returns the oldest Ingress of the host that is accepted.
func (c *ingressController) find(ctx context.Context, accept func(*networkingv1.Ingress) bool) (*networkingv1.Ingress, error) {
	list, err := hostClient.NetworkingV1().Ingresses(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	var found *networkingv1.Ingress
	for i := range list.Items {
		if candidate := &list.Items[i]; accept(candidate) && (found == nil || candidate.CreationTimestamp.Before(&found.CreationTimestamp)) {
			found = candidate
		}
	}
	if found == nil {
		return nil, errors.New("no Ingress has this host name")
	}
	return found, nil
}

// certificate returns the certificate of the Ingress with the host name.
func (c *ingressController) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	var name string
	found, err := c.find(hello.Context(), func(i *networkingv1.Ingress) bool {
		for _, entry := range i.Spec.TLS {
			if len(entry.Hosts) == 1 && entry.Hosts[0] == hello.ServerName {
				name = entry.SecretName
				return true
			}
		}
		return false
	})
	if err != nil {
		return nil, err
	}
	secret, err := hostClient.CoreV1().Secrets(found.Namespace).Get(hello.Context(), name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(secret.Data["tls.crt"], secret.Data["tls.key"])
	return &pair, err
}

// ServeHTTP passes a request to a pod behind its host name.
func (c *ingressController) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	target, err := c.target(r.Context(), r.Host)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	httputil.NewSingleHostReverseProxy(target).ServeHTTP(w, r)
}

// target returns the address of a pod behind a host name.
func (c *ingressController) target(ctx context.Context, host string) (*url.URL, error) {
	found, err := c.find(ctx, func(i *networkingv1.Ingress) bool { return i.Spec.Rules[0].Host == host })
	if err != nil {
		return nil, err
	}
	service := found.Spec.Rules[0].HTTP.Paths[0].Backend.Service.Name
	slices, err := hostClient.DiscoveryV1().EndpointSlices(found.Namespace).List(ctx, metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=" + service})
	if err != nil {
		return nil, err
	}
	for _, slice := range slices.Items {
		if len(slice.Endpoints) > 0 && len(slice.Ports) > 0 {
			port := strconv.Itoa(int(*slice.Ports[0].Port))
			return &url.URL{Scheme: "http", Host: net.JoinHostPort(slice.Endpoints[0].Addresses[0], port)}, nil
		}
	}
	return nil, fmt.Errorf("there is no address of Service %s", service)
}

// answers waits until the controller serves a host name with the trusted certificate, from a
// pod with that hostname.
func (c *ingressController) answers(t *testing.T, host, pod string) {
	t.Helper()
	transport := &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: c.roots, MinVersion: tls.VersionTLS12},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, c.server.Listener.Addr().String())
		},
	}
	client := &http.Client{Transport: transport, Timeout: 10 * time.Second}
	eventually(t, "answer of "+host, func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+host+"/hostname", nil)
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
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}
