package controlplane

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"

	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
)

// testServingNames connects under names that the certificate is for, and under
// one that it is not for.
func testServingNames(t *testing.T, p *plane) {
	conn, err := tls.Dial("tcp", p.address, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	leaf := conn.ConnectionState().PeerCertificates[0]
	for _, name := range []string{
		"localhost", "127.0.0.1", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
		"10.96.7.7", "10.1.2.3", "shop.tenant.svc", "192.0.2.9",
	} {
		if err := leaf.VerifyHostname(name); err != nil {
			t.Errorf("the serving certificate is not for %s: %v", name, err)
		}
	}
	if err := leaf.VerifyHostname("example.com"); err == nil {
		t.Error("the serving certificate is for example.com")
	}
}

// fakeKubelet answers every request with its path, over TLS, at the end of a
// dialer.
type fakeKubelet struct {
	server *httptest.Server
	mu     sync.Mutex
	asked  []string
}

func newFakeKubelet(t *testing.T) *fakeKubelet {
	t.Helper()
	k := &fakeKubelet{}
	k.server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		_, _ = w.Write([]byte(req.URL.Path))
	}))
	t.Cleanup(k.server.Close)
	return k
}

func (k *fakeKubelet) dial(ctx context.Context, network, address string) (net.Conn, error) {
	k.mu.Lock()
	k.asked = append(k.asked, address)
	k.mu.Unlock()
	return (&net.Dialer{}).DialContext(ctx, network, k.server.Listener.Addr().String())
}

func (k *fakeKubelet) dialled() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Compact(k.asked)[0]
}

// newLabelWebhook serves a webhook that labels whatever it is asked about.
func newLabelWebhook(t *testing.T, bundle *pki.Bundle) string {
	t.Helper()
	return serveTLS(t, bundle, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		review := admissionv1.AdmissionReview{}
		if err := json.NewDecoder(req.Body).Decode(&review); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		patch := admissionv1.PatchTypeJSONPatch
		review.Response = &admissionv1.AdmissionResponse{
			UID: review.Request.UID, Allowed: true, PatchType: &patch,
			Patch: []byte(`[{"op":"add","path":"/metadata/labels","value":{"webhook":"was-here"}}]`),
		}
		_ = json.NewEncoder(w).Encode(review)
	}))
}
