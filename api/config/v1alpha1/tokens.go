package v1alpha1

// ServiceAccountTokens has the settings of the tokens of the tenant's service accounts.
type ServiceAccountTokens struct {
	// Accept the token of a pod for a year, although the pod gets a new one each hour, as every API
	// server does by default. Clients that read the file once continue to work. The metric
	// serviceaccount_stale_tokens_total counts them. Tokens always end with their pod.
	// Default: true
	ExtendExpiration bool `json:"extendExpiration"`
}

// defaultServiceAccountTokens returns the settings that an API server has by default.
func defaultServiceAccountTokens() ServiceAccountTokens {
	return ServiceAccountTokens{ExtendExpiration: true}
}
