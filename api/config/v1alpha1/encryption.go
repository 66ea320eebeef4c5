package v1alpha1

// Encryption has the settings of the encryption of what the store keeps.
type Encryption struct {
	// Encrypt what the store keeps of these resources, with secretbox (XSalsa20 and Poly1305). What is
	// stored already is rewritten, also when this is set to false again. A start then needs the host, which
	// has the keys.
	// Default: false
	Enabled bool `json:"enabled"`
	// Resources to encrypt.
	// Default: [secrets]
	Resources []string `json:"resources" enum:"secrets,configmaps" unique:"true"`
	// Secret of the release's namespace with the keys: under "keys", a line NAME:KEY for each, a key being 32
	// random bytes in base64. The first one encrypts, all decrypt. A change counts after a restart. Empty
	// means the Secret RELEASE-encryption, which the server creates with a random key, and which "helm
	// uninstall" leaves. Without its keys, the store and its backups are lost.
	// Default: ""
	KeySecret string `json:"keySecret" format:"object-name,optional"`
}

// defaultEncryption returns the settings without encryption.
func defaultEncryption() Encryption { return Encryption{Resources: []string{"secrets"}} }

// encryptionCombinations returns the rules of the encryption.
func encryptionCombinations() []Combination {
	const encryption = "controlPlane.advanced.encryption."
	return []Combination{{
		Name: "encryption-without-resources", Path: encryption + "resources",
		With:   []string{encryption + "enabled"},
		Detail: encryption + "enabled is true, but no resource is encrypted; name at least one, or set that to false",
		Violated: func(c *Config) bool {
			e := c.ControlPlane.Advanced.Encryption
			return e.Enabled && len(e.Resources) == 0
		},
	}}
}
