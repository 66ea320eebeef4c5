package controlplane

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/component-base/metrics/legacyregistry"
	core "k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/serviceaccount"
)

// whoami returns who the bearer of a token is, asked over TLS.
func whoami(t *testing.T, p *plane, token string) authenticationv1.UserInfo {
	t.Helper()
	config := &rest.Config{
		Host: "https://" + p.address, BearerToken: token,
		TLSClientConfig: rest.TLSClientConfig{CAData: p.bundle.CA()},
	}
	review, err := kubernetes.NewForConfigOrDie(config).AuthenticationV1().SelfSubjectReviews().
		Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("with a token: %v", err)
	}
	return review.Status.UserInfo
}

func testTokenRequest(t *testing.T, p *plane) {
	ns := namespace(t, p, "tokens")
	hour := int64(3607) // the lifetime that becomes a year for a token of a pod
	answer, err := p.client.CoreV1().ServiceAccounts(ns).CreateToken(t.Context(), "default",
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &hour}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if left := time.Until(answer.Status.ExpirationTimestamp.Time); left > 2*time.Hour {
		t.Errorf("a token for an hour is valid for %s", left)
	}
	if got, want := whoami(t, p, answer.Status.Token).Username, "system:serviceaccount:tokens:default"; got != want {
		t.Errorf("the token is %s's, want %s", got, want)
	}
}

// testPodToken compares a token made in the process with one that the API server
// makes for the same pod.
func testPodToken(t *testing.T, p *plane) {
	ns := namespace(t, p, "podtokens")
	pod, err := p.client.CoreV1().Pods(ns).Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "web"}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		requested, life int64
		audiences       []string
	}{
		"an hour":                    {requested: 3600, life: 3600},
		"the API access of a pod":    {requested: 3607, life: 365 * 24 * 3600},
		"the same for somebody else": {requested: 3607, life: 3607, audiences: []string{"vault"}},
	} {
		t.Run(name, func(t *testing.T) {
			comparePodToken(t, p, pod, test.life, authenticationv1.TokenRequestSpec{ExpirationSeconds: &test.requested, Audiences: test.audiences})
		})
	}

	hour := int64(3600)
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: &hour,
		BoundObjectRef:    &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: "web", UID: pod.UID},
	}}
	short := int64(60)
	for name, change := range map[string]func(*authenticationv1.TokenRequestSpec){
		"no pod":      func(s *authenticationv1.TokenRequestSpec) { s.BoundObjectRef = nil },
		"a secret":    func(s *authenticationv1.TokenRequestSpec) { s.BoundObjectRef.Kind = "Secret" },
		"another pod": func(s *authenticationv1.TokenRequestSpec) { s.BoundObjectRef.UID = "other" },
		"too short":   func(s *authenticationv1.TokenRequestSpec) { s.ExpirationSeconds = &short },
		"no life":     func(s *authenticationv1.TokenRequestSpec) { s.ExpirationSeconds = nil },
	} {
		odd := request.DeepCopy()
		change(&odd.Spec)
		if _, ok := p.PodToken(t.Context(), ns, "default", odd); ok {
			t.Errorf("%s: the API server has to be asked", name)
		}
	}
	if _, ok := p.PodToken(t.Context(), ns, "nobody", request); ok {
		t.Error("there is no such account")
	}
}

// comparePodToken compares the two tokens of one request, which live for life seconds.
func comparePodToken(t *testing.T, p *plane, pod *corev1.Pod, life int64, spec authenticationv1.TokenRequestSpec) {
	t.Helper()
	spec.BoundObjectRef = &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID}
	request := &authenticationv1.TokenRequest{Spec: spec}
	asked, err := p.client.CoreV1().ServiceAccounts(pod.Namespace).CreateToken(t.Context(), "default", request, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	made, ok := p.PodToken(t.Context(), pod.Namespace, "default", request)
	if !ok {
		t.Fatal("there is no token")
	}
	if diff := cmp.Diff(claimsOf(t, asked.Status.Token, life), claimsOf(t, made.Status.Token, life)); diff != "" {
		t.Errorf("claims (-asked for +made):\n%s", diff)
	}
	if diff := cmp.Diff(asked.Spec, made.Spec); diff != "" {
		t.Errorf("answer (-asked for +made):\n%s", diff)
	}
	if late := made.Status.ExpirationTimestamp.Sub(asked.Status.ExpirationTimestamp.Time); late < 0 || late > patience {
		t.Errorf("it ends %s after one that was asked for before", late)
	}
	if len(spec.Audiences) > 0 {
		return
	}
	if got := whoami(t, p, made.Status.Token).Extra["authentication.kubernetes.io/pod-uid"]; len(got) != 1 || got[0] != string(pod.UID) {
		t.Errorf("the token is of pod %s, want %s", got, pod.UID)
	}
}

// testStaleToken checks that the API server counts a token that is used after the time in its claims.
func testStaleToken(t *testing.T, p *plane) {
	ns := namespace(t, p, "stale-tokens")
	created, err := p.client.CoreV1().Pods(ns).Create(t.Context(), pod("web"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	owner, err := p.client.CoreV1().ServiceAccounts(ns).Get(t.Context(), "default", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	mint := p.tokens.Load()
	for _, test := range []struct{ warnAfter, counted int64 }{{60, 0}, {-60, 1}} {
		claims, private, err := serviceaccount.Claims(core.ServiceAccount{ObjectMeta: owner.ObjectMeta},
			&core.Pod{ObjectMeta: created.ObjectMeta}, nil, nil, nil, nil, 3600, test.warnAfter, mint.audiences, nil)
		if err != nil {
			t.Fatal(err)
		}
		token, err := mint.issuer.GenerateToken(t.Context(), claims, private)
		if err != nil {
			t.Fatal(err)
		}
		before := staleTokens(t)
		whoami(t, p, token)
		if got := staleTokens(t) - before; got != float64(test.counted) {
			t.Errorf("with a token that is stale after %d seconds, serviceaccount_stale_tokens_total rose by %v, want %d", test.warnAfter, got, test.counted)
		}
	}
}

// staleTokens returns how often stale tokens were used.
func staleTokens(t *testing.T) float64 {
	t.Helper()
	families, err := legacyregistry.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == "serviceaccount_stale_tokens_total" {
			return family.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatal("there is no metric serviceaccount_stale_tokens_total")
	return 0
}

// claimsOf returns the claims of a token without those of one token alone. It checks how
// long the token lives, and when its use is counted.
func claimsOf(t *testing.T, token string, life int64) map[string]any {
	t.Helper()
	claims := payloadOf(t, token)
	if claims["exp"].(float64)-claims["iat"].(float64) != float64(life) {
		t.Errorf("it lives from %v to %v, want %d seconds", claims["iat"], claims["exp"], life)
	}
	private, ok := claims["kubernetes.io"].(map[string]any)
	if !ok {
		t.Fatalf("the token has no claims of Kubernetes: %v", claims)
	}
	if warnAfter, ok := private["warnafter"].(float64); ok != (life > 3607) || ok && warnAfter-claims["iat"].(float64) != 3607 {
		t.Errorf("its use is counted after %v, issued at %v", private["warnafter"], claims["iat"])
	}
	delete(private, "warnafter")
	for _, own := range []string{"exp", "iat", "nbf", "jti"} {
		delete(claims, own)
	}
	return claims
}

// payloadOf returns all claims of a token.
func payloadOf(t *testing.T, token string) map[string]any {
	t.Helper()
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	claims := map[string]any{}
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	return claims
}

func testTokenSecret(t *testing.T, p *plane) {
	ns := namespace(t, p, "token-secrets")
	_, err := p.client.CoreV1().Secrets(ns).Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "token", Annotations: map[string]string{corev1.ServiceAccountNameKey: "default"}},
		Type:       corev1.SecretTypeServiceAccountToken,
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var token string
	eventually(t, "secret", func(ctx context.Context) string {
		secret, err := p.client.CoreV1().Secrets(ns).Get(ctx, "token", metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		token = string(secret.Data[corev1.ServiceAccountTokenKey])
		if token == "" {
			return "no token in it"
		}
		return ""
	})
	if got, want := whoami(t, p, token).Username, "system:serviceaccount:token-secrets:default"; got != want {
		t.Errorf("the token is %s's, want %s", got, want)
	}
}
