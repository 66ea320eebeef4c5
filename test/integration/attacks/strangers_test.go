package attacks

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// strangers asks for everything without credentials, and with headers that only a front
// proxy may set.
func strangers(t *testing.T, s *site) {
	anonymous := rest.AnonymousClientConfig(s.config)
	c, err := rest.HTTPClientFor(anonymous)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{
		"/api", "/apis", "/api/v1/secrets", "/metrics", "/openapi/v2", "/debug/pprof/heap", "/logs/", "/configz", "/statusz", "/syncz",
		"/syncz/%2e%2e/api/v1/secrets", "//api/v1/secrets", "/syncz;/api/v1/secrets", "/openid/v1/jwks",
	} {
		for _, headers := range []map[string]string{nil, {
			"X-Remote-User": "kubernetes-admin", "X-Remote-Group": "system:masters", "Impersonate-User": "admin", "Impersonate-Group": "system:masters",
		}} {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, anonymous.Host+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			for key, value := range headers {
				request.Header.Set(key, value)
			}
			response, err := c.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				t.Errorf("%s with %d headers answers anybody", path, len(headers))
			}
		}
	}
}

// deniedCertificates asks for the certificate of an administrator whom nobody can revoke.
func deniedCertificates(t *testing.T, s *site) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	subject := pkix.Name{CommonName: "evil", Organization: []string{"system:masters"}}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: subject}, key)
	if err != nil {
		t.Fatal(err)
	}
	request := &certificatesv1.CertificateSigningRequest{ObjectMeta: metav1.ObjectMeta{Name: "evil"}, Spec: certificatesv1.CertificateSigningRequestSpec{
		Request: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), SignerName: certificatesv1.KubeAPIServerClientSignerName,
		Usages: []certificatesv1.KeyUsage{certificatesv1.UsageClientAuth},
	}}
	wantDenied(t, "a certificate for system:masters", s.tenant.Create(t.Context(), request), "system:masters")
}

// closedNodeProxy asks kubelets for the control plane's pod, and nodes for other ports.
func closedNodeProxy(t *testing.T, s *site) {
	node, pod := s.host.Nodes()[0], hostNamespace+"/"+releaseName+"-0/sublet"
	for _, path := range []string{
		"/containerLogs/" + pod, "/containerLogs/default/..%2f..%2f" + releaseName + "-0/sublet", "//containerLogs/" + pod,
		"/exec/" + pod + "?command=id&output=1", "/run/" + pod + "?cmd=id", "/logs/", "/configz", "/debug/pprof/heap", "/checkpoint/" + pod,
	} {
		s.wantClosed(t, "/api/v1/nodes/"+node+"/proxy"+path)
	}
	for _, port := range []string{"http:%s:10255", "http:%s:9100", "https:%s:6443", "https:%s:10257", "http:%s:22"} {
		s.wantClosed(t, "/api/v1/nodes/"+strings.ReplaceAll(port, "%s", node)+"/proxy/")
	}
	for _, path := range []string{"/pods", "/runningpods/", "/stats/summary", "/metrics/cadvisor"} {
		answer, _ := s.kube.CoreV1().RESTClient().Get().AbsPath("/api/v1/nodes/" + node + "/proxy" + path).DoRaw(t.Context())
		for _, word := range []string{hostNamespace, releaseName + "-0"} {
			if strings.Contains(string(answer), word) {
				t.Errorf("%s tells of %s: %.200s", path, word, answer)
			}
		}
	}
}

// wantClosed checks that a path gives no answer. The names of simulated nodes have no
// address, so the API server already refuses most paths as bad requests.
func (s *site) wantClosed(t *testing.T, path string) {
	t.Helper()
	answer, err := s.kube.CoreV1().RESTClient().Get().AbsPath(path).DoRaw(t.Context())
	refusals := []func(error) bool{apierrors.IsNotFound, apierrors.IsForbidden, apierrors.IsMethodNotSupported, apierrors.IsBadRequest}
	if err == nil || !slices.ContainsFunc(refusals, func(is func(error) bool) bool { return is(err) }) {
		t.Errorf("%s answers %.200s, %v", path, answer, err)
	}
}

// tokenOnHost shows tokens of the virtual cluster to the host.
func tokenOnHost(t *testing.T, s *site) {
	for _, audience := range []string{"", "https://kubernetes.default.svc", "https://kubernetes.default.svc.cluster.local"} {
		request := &authenticationv1.TokenRequest{}
		if audience != "" {
			request.Spec.Audiences = []string{audience}
		}
		token, err := s.kube.CoreV1().ServiceAccounts(virtualNamespace).CreateToken(t.Context(), "default", request, metav1.CreateOptions{})
		if err != nil {
			continue // The virtual API server does not sign for it.
		}
		c, err := kubernetes.NewForConfig(&rest.Config{
			Host: "https://" + s.host.Address(), BearerToken: token.Status.Token, TLSClientConfig: rest.TLSClientConfig{CAData: s.host.CA()},
		})
		if err != nil {
			t.Fatal(err)
		}
		review, err := c.AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
		if err == nil && review.Status.UserInfo.Username != "system:anonymous" {
			t.Errorf("the host knows a token for %q as %s", audience, review.Status.UserInfo.Username)
		}
	}
}

// boundedAccount uses the account of the control plane as who has taken over the process.
func boundedAccount(t *testing.T, s *site) {
	user := "system:serviceaccount:" + hostNamespace + ":" + releaseName
	for _, may := range []authorizationv1.ResourceAttributes{
		{Verb: "list", Resource: "pods"}, {Verb: "patch", Resource: "nodes"}, {Verb: "get", Resource: "secrets", Namespace: "kube-system"},
		{Verb: "*", Group: "*", Resource: "*"}, {Verb: "create", Resource: "pods", Namespace: "kube-system"},
	} {
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User: user, Groups: []string{"system:serviceaccounts", "system:authenticated"}, ResourceAttributes: &may,
		}}
		if err := s.owner.Create(t.Context(), review); err != nil || review.Status.Allowed {
			t.Errorf("may %s %s in namespace %q: %t, %v", may.Verb, may.Resource, may.Namespace, review.Status.Allowed, err)
		}
	}
	account := s.awaitFence(t)
	pod := newPod("evil", func(p *corev1.Pod) { p.Namespace, p.Spec.ServiceAccountName = hostNamespace, releaseName })
	wantDenied(t, "a pod with its own permissions", account.Create(t.Context(), pod, client.DryRunAll), fencePrefix)
}

// fencePrefix begins the name of each policy of the fence.
const fencePrefix = releaseName + "." + hostNamespace + "."

// awaitFence waits until the fence of the release is in force on the host. It returns a client of the account of
// the control plane, which then cannot delete its own authority.
func (s *site) awaitFence(t *testing.T) client.Client {
	t.Helper()
	config := rest.CopyConfig(s.host.Config())
	config.Impersonate.UserName = "system:serviceaccount:" + hostNamespace + ":" + releaseName
	account, err := client.New(config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	certs := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: hostNamespace, Name: releaseName + "-certs"}}
	eventually(t, "the fence is in force", func(ctx context.Context) error {
		if err := account.Delete(ctx, certs, client.DryRunAll); err == nil || !strings.Contains(err.Error(), fencePrefix) {
			return fmt.Errorf("the fence does not deny it: %w", err)
		}
		return nil
	})
	return account
}
