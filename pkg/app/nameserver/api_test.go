package nameserver

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/sublet-dev/sublet/api/release"
	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
)

// dnsUser is the user of the certificate.
const dnsUser = "system:sublet:dns"

// virtualAPI serves one namespace, one Service and one pod to the user of the certificate.
type virtualAPI struct {
	bundle *pki.Bundle
	server *httptest.Server
}

// newVirtualAPI starts an API server. It writes the credential of its user to a directory.
func newVirtualAPI(t *testing.T) (api *virtualAPI, credentialDir string) {
	t.Helper()
	now := time.Now()
	bundle, err := pki.New(now)
	if err != nil {
		t.Fatal(err)
	}
	client, err := bundle.Client(now, dnsUser)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, content := range map[string][]byte{
		corev1.ServiceAccountRootCAKey: bundle.CA(), corev1.TLSCertKey: client.Cert, corev1.TLSPrivateKeyKey: client.Key,
		release.DNSServiceRangesKey: []byte("10.96.0.0/12\n"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	serving, err := bundle.Serving(now, pki.Names{IPs: []net.IP{net.IPv4(127, 0, 0, 1)}})
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(serving.Cert, serving.Key)
	if err != nil {
		t.Fatal(err)
	}
	clients := x509.NewCertPool()
	clients.AppendCertsFromPEM(bundle.CA())
	a := &virtualAPI{bundle: bundle}
	a.server = httptest.NewUnstartedServer(a)
	a.server.TLS = &tls.Config{
		Certificates: []tls.Certificate{pair}, ClientCAs: clients, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13,
	}
	a.server.StartTLS()
	t.Cleanup(a.stop)
	return a, dir
}

// stop ends the API server and all its connections.
func (a *virtualAPI) stop() {
	a.server.CloseClientConnections()
	a.server.Close()
}

// objectsOf returns the kind of a resource and its objects.
func objectsOf(resource string) (kind metav1.TypeMeta, objects []runtime.Object) {
	meta := metav1.ObjectMeta{Namespace: "shop", Name: "web", ResourceVersion: "1"}
	switch resource {
	case "namespaces":
		kind = metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"}
		return kind, []runtime.Object{&corev1.Namespace{TypeMeta: kind, ObjectMeta: metav1.ObjectMeta{Name: "shop", ResourceVersion: "1"}}}
	case "services":
		kind = metav1.TypeMeta{APIVersion: "v1", Kind: "Service"}
		return kind, []runtime.Object{&corev1.Service{TypeMeta: kind, ObjectMeta: meta, Spec: corev1.ServiceSpec{
			ClusterIP: "10.96.3.4", ClusterIPs: []string{"10.96.3.4"}, Ports: []corev1.ServicePort{{Port: 80}},
		}}}
	case "pods":
		kind = metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}
		return kind, []runtime.Object{&corev1.Pod{TypeMeta: kind, ObjectMeta: meta, Status: corev1.PodStatus{PodIP: "10.1.0.5"}}}
	default:
		return metav1.TypeMeta{APIVersion: "discovery.k8s.io/v1", Kind: "EndpointSlice"}, nil
	}
}

// ServeHTTP implements http.Handler.
func (a *virtualAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.TLS.PeerCertificates[0].Subject.CommonName != dnsUser {
		http.Error(w, "not the user of DNS", http.StatusForbidden)
		return
	}
	kind, objects := objectsOf(path.Base(r.URL.Path))
	w.Header().Set("Content-Type", "application/json")
	if r.URL.Query().Get("watch") == "" {
		_ = json.NewEncoder(w).Encode(map[string]any{
			"kind": kind.Kind + "List", "apiVersion": kind.APIVersion,
			"metadata": map[string]string{"resourceVersion": "1"}, "items": objects,
		})
		return
	}
	if r.URL.Query().Get("sendInitialEvents") == "true" {
		for _, object := range objects {
			_ = json.NewEncoder(w).Encode(map[string]any{"type": "ADDED", "object": object})
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"type": "BOOKMARK", "object": map[string]any{
			"kind": kind.Kind, "apiVersion": kind.APIVersion,
			"metadata": map[string]any{"resourceVersion": "1", "annotations": map[string]string{metav1.InitialEventsAnnotationKey: "true"}},
		}})
	}
	_ = http.NewResponseController(w).Flush()
	<-r.Context().Done()
}
