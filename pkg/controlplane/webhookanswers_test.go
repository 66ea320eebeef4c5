package controlplane

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
)

// bomb is how many bytes an answer has that no reader should take.
const bomb = 24 << 20

// serveTLS serves a handler with a certificate of the bundle, and returns its URL.
func serveTLS(t *testing.T, bundle *pki.Bundle, handler http.Handler) string {
	t.Helper()
	pair, err := bundle.Serving(time.Now(), pki.Names{IPs: []net.IP{net.IPv4(127, 0, 0, 1)}})
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tls.X509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(handler)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.URL
}

// writeBomb writes an answer with many spaces at its end, compressed or not.
func writeBomb(w http.ResponseWriter, compressed bool, answer []byte) {
	w.Header().Set("Content-Type", "application/json")
	var target io.Writer = w
	if compressed {
		w.Header().Set("Content-Encoding", "gzip")
		zipped, _ := gzip.NewWriterLevel(w, gzip.BestSpeed)
		defer func() { _ = zipped.Close() }()
		target = zipped
	}
	_, _ = target.Write(answer)
	spaces := bytes.Repeat([]byte(" "), 1<<20)
	for range bomb / len(spaces) {
		if _, err := target.Write(spaces); err != nil {
			return
		}
	}
}

// allow returns the review of an allowed request.
func allow(req *http.Request) []byte {
	review := admissionv1.AdmissionReview{}
	if err := json.NewDecoder(req.Body).Decode(&review); err != nil {
		return nil
	}
	review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true}
	review.Request = nil
	answer, _ := json.Marshal(review)
	return answer
}

// TestWebhookAnswers lets webhooks answer with more than the process should read.
func TestWebhookAnswers(t *testing.T) {
	t.Parallel()
	p := startPlane(t, Config{})
	mux := http.NewServeMux()
	mux.HandleFunc("/short", func(w http.ResponseWriter, req *http.Request) { _, _ = w.Write(allow(req)) })
	mux.HandleFunc("/long", func(w http.ResponseWriter, req *http.Request) { writeBomb(w, false, allow(req)) })
	mux.HandleFunc("/compressed", func(w http.ResponseWriter, req *http.Request) { writeBomb(w, true, allow(req)) })
	url := serveTLS(t, p.bundle, mux)
	mux.Handle("/redirect", http.RedirectHandler("/short", http.StatusTemporaryRedirect))
	for name, want := range map[string]string{
		"short": "", "long": "longer than", "compressed": "control characters", "redirect": "not followed",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := namespace(t, p, "answers-"+name)
			storeAnsweringWebhook(t, p, name, url+"/"+name, ns)
			eventually(t, "an answer of the webhook", func(ctx context.Context) string {
				_, err := p.client.CoreV1().ConfigMaps(ns).Create(ctx, &corev1.ConfigMap{
					ObjectMeta: metav1.ObjectMeta{GenerateName: "any-", Labels: map[string]string{"asked": "yes"}},
				}, metav1.CreateOptions{})
				switch {
				case want == "" && err != nil:
					return err.Error()
				case want != "" && err == nil:
					return "the answer was read whole"
				case want != "" && !strings.Contains(err.Error(), want):
					return err.Error() + " lacks " + want
				}
				return ""
			})
		})
	}
	t.Run("conversion", func(t *testing.T) { testLongConversion(t, p, url+"/long") })
}

// redirectingTransport answers each request with a redirect.
type redirectingTransport struct{ requests, closed int }

// RoundTrip implements http.RoundTripper.
func (r *redirectingTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	r.requests++
	return &http.Response{
		StatusCode: http.StatusFound, Header: http.Header{"Location": {"https://x.y/api/v1/configmaps"}}, Body: r, Request: req,
	}, nil
}

// Read implements io.Reader.
func (*redirectingTransport) Read([]byte) (int, error) { return 0, io.EOF }

// Close implements io.Closer.
func (r *redirectingTransport) Close() error {
	r.closed++
	return nil
}

// TestWebhooksInMemory sends requests of webhooks to the API server itself, which answers with a redirect.
func TestWebhooksInMemory(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		reason, path, want string
		requests           int
	}{
		"Aggregated": {"an aggregated API serves webhooks, and no redirect is followed", "/apis/hooks.example.com/v1/reviews", "not followed", 1},
		"Proxy":      {"a proxy would pass the request on", "/api/v1/namespaces/n/services/evil/proxy/x", "does not serve webhooks", 0},
		"Dots":       {"so it would under another name", "/apis/hooks.example.com/v1/../../../api/v1/namespaces/n/services/evil/proxy/x", "does not serve webhooks", 0},
		"Builtin":    {"built-in groups serve no webhooks", "/apis/apps/v1/deployments", "does not serve webhooks", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			transport := &redirectingTransport{}
			resolver := boundedWebhooks(&webhook.AuthenticationInfoResolverDelegator{
				ClientConfigForServiceFunc: func(string, string, int) (*rest.Config, error) { return &rest.Config{Transport: transport}, nil },
			})
			config, err := resolver.ClientConfigForService("kubernetes", "default", 443)
			if err != nil {
				t.Fatal(err)
			}
			client, err := rest.HTTPClientFor(config)
			if err != nil {
				t.Fatal(err)
			}
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://kubernetes.default.svc:443"+tc.path, strings.NewReader("{}"))
			if err != nil {
				t.Fatal(err)
			}
			res, err := client.Do(req)
			if err == nil {
				_ = res.Body.Close()
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%s: got %v, want an error with %q", tc.reason, err, tc.want)
			}
			if transport.requests != tc.requests || transport.closed != tc.requests {
				t.Errorf("%s: %d requests and %d closed bodies, want %d", tc.reason, transport.requests, transport.closed, tc.requests)
			}
		})
	}
}

// storeAnsweringWebhook stores a webhook for ConfigMaps of a namespace.
func storeAnsweringWebhook(t *testing.T, p *plane, name, url, ns string) {
	t.Helper()
	fail, none := admissionregistrationv1.Fail, admissionregistrationv1.SideEffectClassNone
	_, err := p.client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Create(t.Context(),
		&admissionregistrationv1.ValidatingWebhookConfiguration{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Webhooks: []admissionregistrationv1.ValidatingWebhook{{
				Name:          name + ".example.com",
				ClientConfig:  admissionregistrationv1.WebhookClientConfig{URL: &url, CABundle: p.bundle.CA()},
				FailurePolicy: &fail, SideEffects: &none, AdmissionReviewVersions: []string{"v1"},
				NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: ns}},
				ObjectSelector:    &metav1.LabelSelector{MatchLabels: map[string]string{"asked": "yes"}},
				Rules: []admissionregistrationv1.RuleWithOperations{{
					Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
					Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
				}},
			}},
		}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// testLongConversion creates a custom resource whose webhook for conversion answers too much.
func testLongConversion(t *testing.T, p *plane, url string) {
	crd := definition("answers.example.com", "gadgets", "Gadget")
	crd.Spec.Conversion = &apiextensionsv1.CustomResourceConversion{
		Strategy: apiextensionsv1.WebhookConverter,
		Webhook: &apiextensionsv1.WebhookConversion{
			ClientConfig:             &apiextensionsv1.WebhookClientConfig{URL: &url, CABundle: p.bundle.CA()},
			ConversionReviewVersions: []string{"v1"},
		},
	}
	storeDefinition(t, p, crd)
	gadgets := dynamic.NewForConfigOrDie(p.kubeconfig(t, "admin", pki.GroupAdmins)).
		Resource(schema.GroupVersionResource{Group: "answers.example.com", Version: "v2", Resource: "gadgets"}).Namespace("default")
	eventually(t, "an answer of the conversion", func(ctx context.Context) string {
		_, err := gadgets.Create(ctx, &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "answers.example.com/v2", "kind": "Gadget", "metadata": map[string]any{"name": "one"},
		}}, metav1.CreateOptions{})
		if err == nil || !strings.Contains(err.Error(), "longer than") {
			return "the answer was read whole: " + errorText(err)
		}
		return ""
	})
}

// errorText returns the text of an error, "no error" if there is none.
func errorText(err error) string {
	if err == nil {
		return "no error"
	}
	return err.Error()
}
