package controlplane

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestIssuerOfTheOperator starts a control plane whose tokens name an issuer that others can
// reach.
func TestIssuerOfTheOperator(t *testing.T) {
	t.Parallel()
	const issuer = "https://oidc.example.com/shop"
	p := startPlane(t, Config{Tokens: TokenOptions{Issuer: issuer}})
	body, err := p.client.Discovery().RESTClient().Get().AbsPath("/.well-known/openid-configuration").Do(t.Context()).Raw()
	if err != nil {
		t.Fatal(err)
	}
	requireContains(t, "issuer", string(body), `"issuer":"`+issuer+`"`)
	requireContains(t, "keys", string(body), `"jwks_uri":"`+issuer+`/openid/v1/jwks"`)

	ns := namespace(t, p, "issuer")
	created, err := p.client.CoreV1().Pods(ns).Create(t.Context(), pod("web"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	token := requestPodToken(t, p, created)
	if got := payloadOf(t, token)["iss"]; got != issuer {
		t.Errorf("the token is from %v, want %s", got, issuer)
	}
	awaitRoles(t, p)
	whoami(t, p, token)

	accepts, err := p.AcceptsToken()
	if err != nil {
		t.Fatal(err)
	}
	header, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[0])
	if err != nil {
		t.Fatal(err)
	}
	var named struct {
		Key string `json:"kid"`
	}
	if err := json.Unmarshal(header, &named); err != nil {
		t.Fatal(err)
	}
	const standard = "https://kubernetes.default.svc.cluster.local"
	for reason, got := range map[string]bool{
		"its own token":          accepts(named.Key, issuer),
		"a token of before":      accepts(named.Key, standard),
		"a token of another key": !accepts("another", issuer),
		"a token of a stranger":  !accepts(named.Key, "https://oidc.example.com/other"),
	} {
		if !got {
			t.Errorf("%s is judged wrongly", reason)
		}
	}
}

// testNodeOfToken checks that a token review names the node of a pod that got it later.
func testNodeOfToken(t *testing.T, p *plane) {
	ns := namespace(t, p, "node-of-token")
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-of-token"}}
	if _, err := p.client.CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	created, err := p.client.CoreV1().Pods(ns).Create(t.Context(), pod("web"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	token := requestPodToken(t, p, created)
	binding := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Target: corev1.ObjectReference{Kind: "Node", Name: node.Name}}
	if err := p.client.CoreV1().Pods(ns).Bind(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "node", func(ctx context.Context) string {
		review, err := p.client.AuthenticationV1().TokenReviews().Create(ctx,
			&authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}, metav1.CreateOptions{})
		if err != nil {
			return err.Error()
		}
		if got := review.Status.User.Extra["authentication.kubernetes.io/node-name"]; len(got) != 1 || got[0] != node.Name {
			return fmt.Sprintf("the review names the node %v, want %s", got, node.Name)
		}
		return ""
	})
}

// requestPodToken returns a token that is bound to a pod.
func requestPodToken(t *testing.T, p *plane, pod *corev1.Pod) string {
	t.Helper()
	answer, err := p.client.CoreV1().ServiceAccounts(pod.Namespace).CreateToken(t.Context(), "default",
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
			BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID},
		}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return answer.Status.Token
}
