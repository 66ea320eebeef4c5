package v1alpha1

// Authentication has the settings of who may log in, in addition to the tenant's kubeconfig and service
// accounts.
type Authentication struct {
	// Issuers of OpenID Connect, each as under jwt of an AuthenticationConfiguration
	// (apiserver.config.k8s.io/v1). A change needs no restart: replicas read it when the kubelet updates
	// their volume, within two minutes. No claim can become a user or a group that begins with system:
	// or sublet:, and a token with such a group is refused. Bind users and groups to roles in the virtual
	// cluster.
	// Default: []
	JWT []JWTAuthenticator `json:"jwt"`
}

// JWTAuthenticator is one issuer. It has the fields of the API's own type.
type JWTAuthenticator struct {
	Issuer               JWTIssuer             `json:"issuer"`
	ClaimValidationRules []ClaimValidationRule `json:"claimValidationRules,omitempty"`
	ClaimMappings        ClaimMappings         `json:"claimMappings"`
	UserValidationRules  []UserValidationRule  `json:"userValidationRules,omitempty"`
}

// JWTIssuer is where tokens come from.
type JWTIssuer struct {
	// URL is the claim iss. It must be an https URL.
	URL string `json:"url" format:"https-url"`
	// DiscoveryURL replaces URL/.well-known/openid-configuration.
	DiscoveryURL string `json:"discoveryURL,omitempty" format:"https-url,optional"`
	// CertificateAuthority is PEM. Empty means the authorities of the container, which has none by itself.
	CertificateAuthority string   `json:"certificateAuthority,omitempty"`
	Audiences            []string `json:"audiences"`
	AudienceMatchPolicy  string   `json:"audienceMatchPolicy,omitempty" enum:"MatchAny"`
}

// ClaimValidationRule is a rule that the claims of a token must fulfil.
type ClaimValidationRule struct {
	Claim         string `json:"claim,omitempty"`
	RequiredValue string `json:"requiredValue,omitempty"`
	Expression    string `json:"expression,omitempty"`
	Message       string `json:"message,omitempty"`
}

// ClaimMappings selects the claims that become the user.
type ClaimMappings struct {
	Username PrefixedClaim      `json:"username"`
	Groups   *PrefixedClaim     `json:"groups,omitempty"`
	UID      *ClaimOrExpression `json:"uid,omitempty"`
	Extra    []ExtraMapping     `json:"extra,omitempty"`
}

// PrefixedClaim is a claim with a prefix, or a CEL expression.
type PrefixedClaim struct {
	Claim      string  `json:"claim,omitempty"`
	Prefix     *string `json:"prefix,omitempty"`
	Expression string  `json:"expression,omitempty"`
}

// ClaimOrExpression is a claim, or a CEL expression.
type ClaimOrExpression struct {
	Claim      string `json:"claim,omitempty"`
	Expression string `json:"expression,omitempty"`
}

// ExtraMapping is a further attribute of the user.
type ExtraMapping struct {
	Key             string `json:"key"`
	ValueExpression string `json:"valueExpression"`
}

// UserValidationRule is a rule that the user must fulfil.
type UserValidationRule struct {
	Expression string `json:"expression"`
	Message    string `json:"message,omitempty"`
}
