package controlplane

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/serviceaccount"
)

// TokenOptions are the settings of service account tokens.
type TokenOptions struct {
	// Issuer is the URL that tokens name as their issuer. Default:
	// https://kubernetes.default.svc.DOMAIN.
	Issuer string
	// FormerIssuers are the issuers of older tokens that are still accepted. Default: only the
	// default issuer.
	FormerIssuers []string
	// KeysURL is the address of the public keys in the discovery document. Default:
	// /openid/v1/jwks below Issuer, or at this API server without one.
	KeysURL string
	// Strict issues the token of a pod with the requested lifetime. Default: false. The API server
	// then accepts it for a year, and counts uses after an hour as stale.
	Strict bool
}

// issuers returns the issuers of accepted tokens, first that of new tokens.
func (c *Config) issuers() []string { return c.Tokens.Issuers(c.ClusterDomain) }

// Issuers returns the issuers of accepted tokens, first that of new tokens. They include the default
// issuer, so that a change of the setting does not invalidate the tokens of running pods.
func (t TokenOptions) Issuers(clusterDomain string) []string {
	own := "https://kubernetes.default.svc." + clusterDomain
	issuers := []string{cmp.Or(t.Issuer, own)}
	for _, issuer := range append(slices.Clone(t.FormerIssuers), own) {
		if !slices.Contains(issuers, issuer) {
			issuers = append(issuers, issuer)
		}
	}
	return issuers
}

// keysURL returns the address of the public keys in the discovery document, empty for this
// API server.
func (c *Config) keysURL() string {
	if c.Tokens.KeysURL != "" || c.Tokens.Issuer == "" {
		return c.Tokens.KeysURL
	}
	return strings.TrimRight(c.Tokens.Issuer, "/") + "/openid/v1/jwks"
}

// shortestToken is the shortest life of a token that may be asked for, in seconds,
// as upstream validates it.
const shortestToken = 600

// tokenMint issues service account tokens in the process, without a request to the API server. They are
// the same that the API server would issue.
type tokenMint struct {
	issuer    serviceaccount.TokenGenerator
	audiences []string
	options   TokenOptions
	accounts  corelisters.ServiceAccountLister
	pods      corelisters.PodLister
}

func newTokenMint(issuer serviceaccount.TokenGenerator, audiences []string, options TokenOptions,
	factory informers.SharedInformerFactory,
) *tokenMint {
	return &tokenMint{
		issuer: issuer, audiences: audiences, options: options,
		accounts: factory.Core().V1().ServiceAccounts().Lister(),
		pods:     factory.Core().V1().Pods().Lister(),
	}
}

// PodToken issues a token of the service account namespace/account that is bound to the pod of the
// request. The caller must have read that pod from this API server. ok is false in all other cases,
// or if the caches may be stale. The caller must then send the request to the API server. It may be
// called once [ControlPlane.Ready] is closed.
func (c *ControlPlane) PodToken(ctx context.Context, namespace, account string, request *authenticationv1.TokenRequest) (token *authenticationv1.TokenRequest, ok bool) {
	m := c.tokens.Load()
	if m == nil {
		return nil, false
	}
	return m.podToken(ctx, namespace, account, request)
}

func (m *tokenMint) podToken(ctx context.Context, namespace, account string, request *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, bool) {
	spec, pod := request.Spec, request.Spec.BoundObjectRef
	if !isBoundToPod(pod) || spec.ExpirationSeconds == nil || *spec.ExpirationSeconds < shortestToken {
		return nil, false
	}
	// A token of a pod that has a node names that too, which takes a look at it.
	if known, err := m.pods.Pods(namespace).Get(pod.Name); err == nil && (known.UID != pod.UID || known.Spec.NodeName != "") {
		return nil, false
	}
	owner, err := m.accounts.ServiceAccounts(namespace).Get(account)
	if err != nil {
		return nil, false
	}
	audiences := spec.Audiences
	if len(audiences) == 0 {
		audiences = m.audiences
	}
	life, warnAfter := m.life(*spec.ExpirationSeconds, audiences)
	made := time.Now() //nolint:forbidigo // the claims use it too; before them, so that the token is not older than they are
	claims, private, err := serviceaccount.Claims(
		core.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: account, UID: owner.UID}},
		&core.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: pod.Name, UID: pod.UID}},
		nil, nil, nil, nil, life, warnAfter, audiences, nil)
	if err != nil {
		return nil, false
	}
	text, err := m.issuer.GenerateToken(ctx, claims, private)
	if err != nil {
		return nil, false
	}
	answer := request.DeepCopy()
	answer.Spec.Audiences = audiences
	answer.Status = authenticationv1.TokenRequestStatus{
		Token:               text,
		ExpirationTimestamp: metav1.NewTime(made.Add(time.Duration(*spec.ExpirationSeconds) * time.Second)),
	}
	return answer, true
}

// life returns the lifetime of a token, and after which time its use is counted as stale, 0 for never.
// Like the API server, it extends the default lifetime of API tokens of pods to a year.
func (m *tokenMint) life(requested int64, audiences []string) (seconds, warnAfter int64) {
	isForeign := func(audience string) bool { return !slices.Contains(m.audiences, audience) }
	if m.options.Strict || requested != serviceaccount.WarnOnlyBoundTokenExpirationSeconds || slices.ContainsFunc(audiences, isForeign) {
		return requested, 0
	}
	return serviceaccount.ExpirationExtensionSeconds, requested
}

// isBoundToPod reports whether a token is to be bound to one certain pod.
func isBoundToPod(bound *authenticationv1.BoundObjectReference) bool {
	return bound != nil && bound.Kind == "Pod" && bound.UID != ""
}

// AcceptsToken returns a function that reports whether this API server accepts service account
// tokens of an issuer that are signed with a key. The key is the name in the header of a token.
func (c *ControlPlane) AcceptsToken() (func(key, issuer string) bool, error) {
	issuers := c.config.issuers()
	var keys []string
	for _, public := range c.config.PKI.ServiceAccountKeys() {
		name, err := keyName(public)
		if err != nil {
			return nil, err
		}
		keys = append(keys, name)
	}
	return func(key, issuer string) bool { return slices.Contains(keys, key) && slices.Contains(issuers, issuer) }, nil
}

// keyName returns the name of a public key in the header of tokens, as upstream computes it.
func keyName(public any) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return "", fmt.Errorf("cannot encode the key of service accounts: %w", err)
	}
	sum := sha256.Sum256(der)
	return base64.RawURLEncoding.EncodeToString(sum[:]), nil
}
