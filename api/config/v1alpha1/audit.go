package v1alpha1

// Audit has the settings of the audit log of the virtual API server.
type Audit struct {
	// Record the requests of the tenant. Those of the control plane's own parts are left out once it is ready.
	// Default: false
	Enabled bool `json:"enabled"`
	// What is recorded, as in a Policy of audit.k8s.io/v1.
	Policy AuditPolicy `json:"policy"`
	// Write events to the log of the control plane, one line of JSON each.
	Log AuditLog `json:"log"`
	// Send events to a server.
	Webhook AuditWebhook `json:"webhook"`
}

// AuditPolicy selects what is recorded.
type AuditPolicy struct {
	// Rules, of which the first that fits a request decides. A request that fits none is not recorded.
	// Default: [{level: Metadata}]
	Rules []AuditRule `json:"rules"`
	// Stages that are never recorded.
	// Default: [RequestReceived]
	OmitStages []string `json:"omitStages" enum:"RequestReceived,ResponseStarted,ResponseComplete,Panic" unique:"true"`
	// Leave managedFields out of recorded objects.
	// Default: true
	OmitManagedFields bool `json:"omitManagedFields"`
}

// AuditRule is one rule of a policy. It has the fields of the API's own type.
type AuditRule struct {
	Level             string           `json:"level" enum:"None,Metadata,Request,RequestResponse"`
	Users             []string         `json:"users,omitempty"`
	UserGroups        []string         `json:"userGroups,omitempty"`
	Verbs             []string         `json:"verbs,omitempty"`
	Resources         []AuditResources `json:"resources,omitempty"`
	Namespaces        []string         `json:"namespaces,omitempty"`
	NonResourceURLs   []string         `json:"nonResourceURLs,omitempty"`
	OmitStages        []string         `json:"omitStages,omitempty" enum:"RequestReceived,ResponseStarted,ResponseComplete,Panic"`
	OmitManagedFields *bool            `json:"omitManagedFields,omitempty"`
}

// AuditResources are resources of one API group.
type AuditResources struct {
	Group         string   `json:"group,omitempty"`
	Resources     []string `json:"resources,omitempty"`
	ResourceNames []string `json:"resourceNames,omitempty"`
}

// AuditLog has the settings of the events in the log.
type AuditLog struct {
	// Write them.
	// Default: true
	Enabled bool `json:"enabled"`
}

// AuditWebhook names the server that gets the events.
type AuditWebhook struct {
	// Secret of the release's namespace whose key kubeconfig leads to the server, as in a file of
	// --audit-webhook-config-file. Its files are mounted at /etc/sublet-audit. Empty means none. A
	// change of its content needs a restart.
	// Default: ""
	Secret string `json:"secret" format:"object-name,optional"`
}

// defaultAudit returns a policy that records who did what, without the objects.
func defaultAudit() Audit {
	return Audit{
		Policy: AuditPolicy{
			Rules: []AuditRule{{Level: "Metadata"}}, OmitStages: []string{"RequestReceived"}, OmitManagedFields: true,
		},
		Log: AuditLog{Enabled: true},
	}
}

// auditCombinations returns the rules of the audit log.
func auditCombinations() []Combination {
	return []Combination{{
		Name: "audit-to-nowhere", Path: "controlPlane.advanced.audit.enabled",
		With:   []string{"controlPlane.advanced.audit.log.enabled", "controlPlane.advanced.audit.webhook.secret"},
		Detail: "controlPlane.advanced.audit.log.enabled is false and there is no webhook, so events would go nowhere; set one, or this to false",
		Violated: func(c *Config) bool {
			audit := c.ControlPlane.Advanced.Audit
			return audit.Enabled && !audit.Log.Enabled && audit.Webhook.Secret == ""
		},
	}, {
		Name: "audit-without-rules", Path: "controlPlane.advanced.audit.policy.rules",
		With:   []string{"controlPlane.advanced.audit.enabled"},
		Detail: "without a rule nothing is recorded; add one such as {level: Metadata}, or set controlPlane.advanced.audit.enabled to false",
		Violated: func(c *Config) bool {
			audit := c.ControlPlane.Advanced.Audit
			return audit.Enabled && len(audit.Policy.Rules) == 0
		},
	}}
}
