package authentication_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/utils/clock"
	"sigs.k8s.io/yaml"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/controlplane/authentication"
	"github.com/sublet-dev/sublet/test/await"
	"github.com/sublet-dev/sublet/test/oidc"
)

// ownIssuer is the issuer of the virtual cluster.
const ownIssuer = "https://kubernetes.default.svc.cluster.local"

// jwt returns the settings of an issuer whose claims sub and groups become user and groups.
func jwt(p *oidc.Provider, usernamePrefix, groupsPrefix string) v1alpha1.JWTAuthenticator {
	return v1alpha1.JWTAuthenticator{
		Issuer: v1alpha1.JWTIssuer{URL: p.URL(), CertificateAuthority: p.Authority(), Audiences: []string{"shop"}},
		ClaimMappings: v1alpha1.ClaimMappings{
			Username: v1alpha1.PrefixedClaim{Claim: "sub", Prefix: &usernamePrefix},
			Groups:   &v1alpha1.PrefixedClaim{Claim: "groups", Prefix: &groupsPrefix},
		},
	}
}

// newIssuers returns issuers that end with the test.
func newIssuers(t *testing.T, settings ...v1alpha1.JWTAuthenticator) *authentication.Issuers {
	t.Helper()
	issuers := authentication.New(authentication.Options{Own: []string{ownIssuer}, ServerID: t.Name()})
	t.Cleanup(func() {
		if err := issuers.Set(context.WithoutCancel(t.Context()), v1alpha1.Authentication{}); err != nil {
			t.Error(err)
		}
	})
	set(t, issuers, settings...)
	return issuers
}

// set sets the issuers and waits for their answers.
func set(t *testing.T, issuers *authentication.Issuers, settings ...v1alpha1.JWTAuthenticator) {
	t.Helper()
	if err := issuers.Set(t.Context(), v1alpha1.Authentication{JWT: settings}); err != nil {
		t.Fatal(err)
	}
	awaitAnswers(t, issuers)
}

func awaitAnswers(t *testing.T, issuers *authentication.Issuers) {
	t.Helper()
	await.Until(t, "the issuers answer", func(context.Context) error {
		for _, check := range issuers.Checks() {
			if !check.Healthy {
				return fmt.Errorf("%s %v", check.Message, check.Details)
			}
		}
		return nil
	})
}

// login returns the user and the groups of a request with a token.
func login(t *testing.T, issuers *authentication.Issuers, token string) (string, error) {
	t.Helper()
	network := authenticator.RequestFunc(func(req *http.Request) (*authenticator.Response, bool, error) {
		switch req.Header.Get("Authorization") {
		case "":
			return &authenticator.Response{User: &user.DefaultInfo{Name: "system:anonymous"}}, true, nil
		case "Bearer own":
			return &authenticator.Response{User: &user.DefaultInfo{Name: "system:serviceaccount:default:web"}}, true, nil
		}
		return nil, false, errors.New("invalid bearer token")
	})
	req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/api", http.NoBody)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	response, ok, err := issuers.Wrap(network, authenticator.Audiences{ownIssuer}).AuthenticateRequest(req)
	if err != nil || !ok {
		return "", fmt.Errorf("not authenticated: %w", err)
	}
	return response.User.GetName() + " " + strings.Join(response.User.GetGroups(), ","), nil
}

func TestTokens(t *testing.T) {
	t.Parallel()
	p, plain := oidc.New(t), oidc.New(t)
	issuers := newIssuers(t, jwt(p, "oidc:", "oidc:"), jwt(plain, "", ""))
	for _, c := range []struct {
		reason string
		token  string
		want   string // user and groups
		wrong  string // part of the error
	}{
		{"a claim becomes the user, a list the groups", p.Token(map[string]any{"sub": "ann", "groups": []string{"dev"}}), "oidc:ann oidc:dev,system:authenticated", ""},
		{"without a token the network decides", "", "system:anonymous ", ""},
		{"the network's own tokens are its own", "own", "system:serviceaccount:default:web ", ""},
		{"a token of nobody", "rubbish", "", "invalid bearer token"},
		{"another audience", p.Token(map[string]any{"sub": "ann", "aud": "bank"}), "", "audience"},
		{"a token that has ended", p.Token(map[string]any{"sub": "ann", "exp": 1}), "", "expired"},
		{"a token that another issuer signed", plain.Token(map[string]any{"sub": "ann", "iss": p.URL()}), "", "signature"},
		{"a user of Kubernetes behind a prefix is another one", p.Token(map[string]any{"sub": "system:admin"}), "oidc:system:admin system:authenticated", ""},
		{"a user of Kubernetes", plain.Token(map[string]any{"sub": "system:admin"}), "", `user name "system:admin" of a token is reserved`},
		{"a service account", plain.Token(map[string]any{"sub": "system:serviceaccount:default:web"}), "", "is reserved"},
		{"the group of all permissions", plain.Token(map[string]any{"sub": "ann", "groups": []string{"dev", "system:masters"}}), "", `group "system:masters" of a token is reserved`},
		{"the group of the tenant's kubeconfig", plain.Token(map[string]any{"sub": "ann", "groups": "sublet:tenant-admins"}), "", "is reserved"},
		{"a part of the server", plain.Token(map[string]any{"sub": "system:sublet:syncer"}), "", "is reserved"},
		{"a plain user", plain.Token(map[string]any{"sub": "ann"}), "ann system:authenticated", ""},
	} {
		t.Run(c.reason, func(t *testing.T) {
			t.Parallel()
			got, err := login(t, issuers, c.token)
			if got != c.want || (err != nil) != (c.wrong != "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
				t.Errorf("got %q and %v, want %q and an error with %q", got, err, c.want, c.wrong)
			}
		})
	}
}

// TestExpressions maps claims by CEL, which no prefix keeps from a reserved name.
func TestExpressions(t *testing.T) {
	t.Parallel()
	p := oidc.New(t)
	settings := jwt(p, "", "")
	settings.ClaimMappings.Username = v1alpha1.PrefixedClaim{Expression: "claims.kind + ':' + claims.sub"}
	settings.ClaimMappings.Groups = &v1alpha1.PrefixedClaim{Expression: "dyn(claims.roles).map(r, 'role-' + r)"}
	settings.ClaimValidationRules = []v1alpha1.ClaimValidationRule{{Expression: "claims.kind != 'robot'", Message: "no robots"}}
	settings.UserValidationRules = []v1alpha1.UserValidationRule{{Expression: "!user.username.endsWith('eve')", Message: "not you"}}
	issuers := newIssuers(t, settings)
	claims := func(kind, sub string) map[string]any {
		return map[string]any{"kind": kind, "sub": sub, "roles": []string{"dev"}}
	}
	for _, c := range []struct{ reason, kind, sub, want, wrong string }{
		{"an expression becomes the user", "human", "ann", "human:ann role-dev,system:authenticated", ""},
		{"a rule about claims", "robot", "ann", "", "no robots"},
		{"a rule about the user", "human", "eve", "", "not you"},
		{"an expression that makes a reserved name", "system", "admin", "", "is reserved"},
		{"an expression that makes a name of ours", "sublet", "syncer", "", "is reserved"},
	} {
		t.Run(c.reason, func(t *testing.T) {
			t.Parallel()
			got, err := login(t, issuers, p.Token(claims(c.kind, c.sub)))
			if got != c.want || (err != nil) != (c.wrong != "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
				t.Errorf("got %q and %v, want %q and an error with %q", got, err, c.want, c.wrong)
			}
		})
	}
}

// TestChange replaces issuers while requests come.
func TestChange(t *testing.T) {
	t.Parallel()
	first, second, silent := oidc.New(t), oidc.New(t), oidc.New(t)
	silent.Close()
	issuers := newIssuers(t, jwt(first, "", ""))
	ann, bob := first.Token(map[string]any{"sub": "ann"}), second.Token(map[string]any{"sub": "bob"})
	if _, err := login(t, issuers, bob); err == nil {
		t.Error("an issuer that is not set is accepted")
	}

	set(t, issuers, jwt(first, "", ""), jwt(second, "", ""))
	for _, token := range []string{ann, bob} {
		if _, err := login(t, issuers, token); err != nil {
			t.Error(err)
		}
	}

	wrong := jwt(second, "", "")
	wrong.Issuer.Audiences = nil
	if err := issuers.Set(t.Context(), v1alpha1.Authentication{JWT: []v1alpha1.JWTAuthenticator{wrong}}); err == nil {
		t.Error("an issuer without an audience is accepted")
	}
	if _, err := login(t, issuers, ann); err != nil {
		t.Errorf("wrong settings end those before: %v", err)
	}

	// The second issuer stays although a new one does not answer, the first one goes at once.
	if err := issuers.Set(t.Context(), v1alpha1.Authentication{JWT: []v1alpha1.JWTAuthenticator{jwt(silent, "", ""), jwt(second, "", "")}}); err != nil {
		t.Fatal(err)
	}
	if _, err := login(t, issuers, ann); err == nil {
		t.Error("an issuer that was removed is accepted")
	}
	if _, err := login(t, issuers, bob); err != nil {
		t.Error(err)
	}
	if checks := issuers.Checks(); len(checks) != 1 || checks[0].Healthy || !strings.Contains(strings.Join(checks[0].Details, " "), silent.URL()) {
		t.Errorf("an issuer that does not answer is reported as %+v", checks)
	}
}

// TestFile reads settings from a file that is replaced, as the kubelet does.
func TestFile(t *testing.T) {
	t.Parallel()
	p := oidc.New(t)
	issuers := newIssuers(t)
	path := filepath.Join(t.TempDir(), "config.yaml")
	write := func(prefix, suffix string) {
		data, err := yaml.Marshal(v1alpha1.Authentication{JWT: []v1alpha1.JWTAuthenticator{jwt(p, prefix, "")}})
		if err == nil {
			err = os.WriteFile(path+".new", append(data, suffix...), 0o600)
		}
		if err == nil {
			err = os.Rename(path+".new", path)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	write("one:", "")
	file := &authentication.File{
		Path: path, Issuers: issuers, Clock: clock.RealClock{}, Every: time.Millisecond, Load: func() (v1alpha1.Authentication, error) {
			data, err := os.ReadFile(path)
			if err != nil {
				return v1alpha1.Authentication{}, err
			}
			var settings v1alpha1.Authentication
			return settings, yaml.UnmarshalStrict(data, &settings)
		},
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- file.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	token := p.Token(map[string]any{"sub": "ann"})
	awaitUser := func(want string) {
		t.Helper()
		await.Until(t, "the user is "+want, func(context.Context) error {
			got, err := login(t, issuers, token)
			if got != want {
				return fmt.Errorf("the user is %q (%w)", got, err)
			}
			return nil
		})
	}
	awaitUser("one:ann system:authenticated")
	write("two:", "")
	awaitUser("two:ann system:authenticated")
	write("three:", "nonsense: true\n")
	await.Until(t, "the wrong settings are reported", func(context.Context) error {
		for _, check := range issuers.Checks() {
			if !check.Healthy && strings.Contains(strings.Join(check.Details, " "), "nonsense") {
				return nil
			}
		}
		return fmt.Errorf("the checks are %+v", issuers.Checks())
	})
	awaitUser("two:ann system:authenticated")
	write("four:", "")
	awaitUser("four:ann system:authenticated")
	awaitAnswers(t, issuers)
}

func TestCheck(t *testing.T) {
	t.Parallel()
	prefix, system, sublet := "", "system:", "sublet:dev:"
	good := func(change func(*v1alpha1.JWTAuthenticator)) v1alpha1.Authentication {
		one := v1alpha1.JWTAuthenticator{
			Issuer:        v1alpha1.JWTIssuer{URL: "https://login.example.com", Audiences: []string{"shop"}},
			ClaimMappings: v1alpha1.ClaimMappings{Username: v1alpha1.PrefixedClaim{Claim: "sub", Prefix: &prefix}},
		}
		change(&one)
		return v1alpha1.Authentication{JWT: []v1alpha1.JWTAuthenticator{one}}
	}
	type issuer = v1alpha1.JWTAuthenticator
	for _, c := range []struct {
		reason   string
		settings v1alpha1.Authentication
		want     []string // paths below the first issuer
	}{
		{"good settings", good(func(*issuer) {}), nil},
		{"nothing", v1alpha1.Authentication{}, nil},
		{"no prefix", good(func(j *issuer) { j.ClaimMappings.Username.Prefix = nil }), []string{"claimMappings.username.prefix"}},
		{"the prefix of Kubernetes", good(func(j *issuer) { j.ClaimMappings.Username.Prefix = &system }), []string{"claimMappings.username.prefix"}},
		{"the prefix of Sublet", good(func(j *issuer) {
			j.ClaimMappings.Groups = &v1alpha1.PrefixedClaim{Claim: "groups", Prefix: &sublet}
		}), []string{"claimMappings.groups.prefix"}},
		{"an expression that does not compile", good(func(j *issuer) {
			j.ClaimMappings.Username = v1alpha1.PrefixedClaim{Expression: "claims.sub +"}
		}), []string{"claimMappings.username.expression"}},
		{"no audience", good(func(j *issuer) { j.Issuer.Audiences = nil }), []string{"issuer.audiences"}},
		{"an authority that is no PEM", good(func(j *issuer) { j.Issuer.CertificateAuthority = "x" }), []string{"issuer.certificateAuthority"}},
		{"the issuer of the virtual cluster", good(func(j *issuer) { j.Issuer.URL = ownIssuer }), []string{"issuer.url"}},
		{"an attribute of Kubernetes", good(func(j *issuer) {
			j.ClaimMappings.Extra = []v1alpha1.ExtraMapping{{Key: "authentication.kubernetes.io/pod-name", ValueExpression: "claims.sub"}}
		}), []string{"claimMappings.extra[0].key"}},
	} {
		t.Run(c.reason, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, problem := range authentication.Check(c.settings, []string{ownIssuer}) {
				got = append(got, strings.TrimPrefix(problem.Field, "controlPlane.advanced.authentication.jwt[0]."))
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}
