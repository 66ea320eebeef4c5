package v1alpha1

// ServiceAccountTokens has the settings of the tokens of the tenant's service accounts.
type ServiceAccountTokens struct {
	// URL of the issuer's public keys, as its discovery document names it. Empty means /openid/v1/jwks
	// below serviceAccountIssuer, or at the virtual API server without one.
	// Default: ""
	JWKSURI string `json:"jwksURI" format:"https-url,optional"`
	// Earlier values of serviceAccountIssuer. Tokens of these issuers stay valid.
	// Default: []
	FormerIssuers []string `json:"formerIssuers" format:"https-url" unique:"true"`
	// Accept the token of a pod for a year, although the pod gets a new one each hour, as every API
	// server does by default. Clients that read the file once continue to work. The metric
	// serviceaccount_stale_tokens_total counts them. Tokens always end with their pod.
	// Default: true
	ExtendExpiration bool `json:"extendExpiration"`
}

// defaultServiceAccountTokens returns the settings that an API server has by default.
func defaultServiceAccountTokens() ServiceAccountTokens {
	return ServiceAccountTokens{FormerIssuers: []string{}, ExtendExpiration: true}
}
