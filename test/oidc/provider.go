// Package oidc has an issuer of tokens for tests.
package oidc

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// Provider is an issuer of tokens.
type Provider struct {
	t      *testing.T
	server *httptest.Server
	key    *rsa.PrivateKey
}

// New returns an issuer that ends with the test.
func New(t *testing.T) *Provider {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p := &Provider{t: t, key: key}
	mux := http.NewServeMux()
	p.server = httptest.NewTLSServer(mux)
	t.Cleanup(p.server.Close)
	answer := func(path string, body map[string]any) {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Connection", "close")
			_ = json.NewEncoder(w).Encode(body)
		})
	}
	answer("/.well-known/openid-configuration", map[string]any{
		"issuer": p.server.URL, "jwks_uri": p.server.URL + "/keys", "id_token_signing_alg_values_supported": []string{"RS256"},
	})
	encode := base64.RawURLEncoding.EncodeToString
	answer("/keys", map[string]any{"keys": []any{map[string]any{
		"kty": "RSA", "kid": "1", "alg": "RS256", "use": "sig",
		"n": encode(key.N.Bytes()), "e": encode(big.NewInt(int64(key.E)).Bytes()),
	}}})
	return p
}

// URL returns the claim iss of its tokens.
func (p *Provider) URL() string { return p.server.URL }

// Close ends the answers of the issuer.
func (p *Provider) Close() { p.server.Close() }

// Authority returns the certificate authority of the server, as PEM.
func (p *Provider) Authority() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.server.Certificate().Raw}))
}

// Token returns a token with claims in addition to those that each token has.
func (p *Provider) Token(claims map[string]any) string {
	p.t.Helper()
	all := map[string]any{
		"iss": p.server.URL, "aud": "shop", "exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix(),
	}
	maps.Copy(all, claims)
	encode := base64.RawURLEncoding.EncodeToString
	head, err := json.Marshal(map[string]any{"alg": "RS256", "kid": "1", "typ": "JWT"})
	if err != nil {
		p.t.Fatal(err)
	}
	body, err := json.Marshal(all)
	if err != nil {
		p.t.Fatal(err)
	}
	signed := encode(head) + "." + encode(body)
	sum := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(rand.Reader, p.key, crypto.SHA256, sum[:])
	if err != nil {
		p.t.Fatal(err)
	}
	return signed + "." + encode(signature)
}
