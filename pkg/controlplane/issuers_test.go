package controlplane

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/controlplane/audit"
	"github.com/sublet-dev/sublet/pkg/controlplane/authentication"
	"github.com/sublet-dev/sublet/test/oidc"
)

// lines is a writer whose lines may be read at the same time.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(data []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(data)
}

// events returns the events of a user that were written.
func (l *lines) events(t *testing.T, user string) []auditv1.Event {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []auditv1.Event
	for line := range strings.Lines(l.text.String()) {
		var event auditv1.Event
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if event.User.Username == user {
			found = append(found, event)
		}
	}
	return found
}

// TestTokensOfOthers logs in with a token of another issuer, and looks for the requests in the audit log.
func TestTokensOfOthers(t *testing.T) {
	t.Parallel()
	provider, out, empty := oidc.New(t), &lines{}, ""
	prefix := "oidc:"
	issuers := authentication.New(authentication.Options{})
	if err := issuers.Set(t.Context(), v1alpha1.Authentication{JWT: []v1alpha1.JWTAuthenticator{{
		Issuer: v1alpha1.JWTIssuer{URL: provider.URL(), CertificateAuthority: provider.Authority(), Audiences: []string{"shop"}},
		ClaimMappings: v1alpha1.ClaimMappings{
			Username: v1alpha1.PrefixedClaim{Claim: "sub", Prefix: &prefix}, Groups: &v1alpha1.PrefixedClaim{Claim: "groups", Prefix: &empty},
		},
	}}}); err != nil {
		t.Fatal(err)
	}
	settings := v1alpha1.Default().ControlPlane.Advanced.Audit
	settings.Enabled = true
	p := startPlane(t, Config{Issuers: issuers, Audit: audit.Options{Settings: settings, Out: out}})
	eventually(t, "the issuer answers", func(context.Context) string {
		return strings.Join(issuers.Checks()[0].Details, " ")
	})

	awaitRoles(t, p)
	token := provider.Token(map[string]any{"sub": "ann", "groups": []string{"dev"}})
	who := whoami(t, p, token)
	if who.Username != "oidc:ann" || !cmp.Equal(who.Groups, []string{"dev", "system:authenticated"}) {
		t.Errorf("the token is %+v's", who)
	}
	review, err := p.client.AuthenticationV1().TokenReviews().Create(t.Context(),
		&authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}, metav1.CreateOptions{})
	if err != nil || review.Status.User.Username != "oidc:ann" {
		t.Errorf("a review of the token: %v, %+v", err, review)
	}
	as := func(token string) kubernetes.Interface {
		return kubernetes.NewForConfigOrDie(&rest.Config{
			Host: "https://" + p.address, BearerToken: token, TLSClientConfig: rest.TLSClientConfig{CAData: p.bundle.CA()},
		})
	}
	if _, err := as(token).CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("without a role: %v", err)
	}
	if _, err := p.client.RbacV1().ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "dev"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: "dev"}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the group has the role", func(ctx context.Context) string {
		if _, err := as(token).CoreV1().Namespaces().List(ctx, metav1.ListOptions{}); err != nil {
			return err.Error()
		}
		return ""
	})
	masters := provider.Token(map[string]any{"sub": "eve", "groups": []string{"system:masters"}})
	if _, err := as(masters).CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{}); !apierrors.IsUnauthorized(err) {
		t.Errorf("a token with the group system:masters: %v", err)
	}
	eventually(t, "the requests are in the audit log", func(context.Context) string {
		for _, event := range out.events(t, "oidc:ann") {
			if event.Verb == "list" && event.ObjectRef.Resource == "namespaces" && event.ResponseStatus.Code == 200 && event.Level == auditv1.LevelMetadata {
				return ""
			}
		}
		return "there is no such event"
	})
}
