package v1alpha1

// ServiceAccounts are the settings of the tenant's service accounts.
type ServiceAccounts struct {
	// Annotations of service accounts that reach the host. All others stay in the virtual cluster.
	Annotations AccountAnnotations `json:"annotations"`
}

// AccountAnnotations are the annotations of service accounts that reach the host.
type AccountAnnotations struct {
	// Keys of annotations, or prefixes that end with *, such as eks.amazonaws.com/role-arn. The tenant
	// chooses the values. A webhook of the host then gives the pods that identity, so bind each role at the
	// provider to names of accounts on the host.
	// Default: []
	Allow []string `json:"allow" format:"key-pattern" unique:"true"`
}
