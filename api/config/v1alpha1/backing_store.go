package v1alpha1

import (
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
)

// BackingStore has the settings of the store of the virtual cluster. Exactly one store is
// enabled.
type BackingStore struct {
	// The store is an etcd.
	Etcd Etcd `json:"etcd"`
	// The store is an SQL database, by the library kine.
	Database Database `json:"database"`
	// Scheduled backups of the store.
	Backup Backup `json:"backup"`
	// Store that the virtual cluster had before. At its next start, the control plane moves it to the
	// store above and verifies every key. It does so once. Leave the settings, or remove them later.
	MoveFrom MoveFrom `json:"moveFrom"`
}

// Etcd has the settings of a store that is an etcd.
type Etcd struct {
	// Etcd in the control plane process.
	Embedded EmbeddedEtcd `json:"embedded"`
	// Etcd that somebody else runs. Several virtual clusters can share it.
	External ExternalEtcd `json:"external"`
}

// EmbeddedEtcd has the settings of an etcd in the control plane process.
type EmbeddedEtcd struct {
	// Run etcd in the control plane process. With auto, it runs unless another store is enabled.
	// Default: auto
	Enabled Switch `json:"enabled"`
	// Size in bytes that the database file may reach. 0 means that it follows from the volume and the
	// memory limit.
	// Default: "0"
	Quota resource.Quantity `json:"quota"`
	// Member that becomes the only one, when the majority of the members is lost for good. The value is
	// in the log of each member that waits for the others, such as shop-0/2. What that member has not
	// got is lost. It happens once. Empty means that nothing is lost.
	// Default: ""
	ForceNewCluster string `json:"forceNewCluster"`
}

// ExternalEtcd has the settings of an etcd outside of the control plane.
type ExternalEtcd struct {
	// Use this etcd. It must be 3.5 or later.
	// Default: false
	Enabled bool `json:"enabled"`
	// URLs of the members, with commas between them, such as
	// https://etcd-0.etcd:2379,https://etcd-1.etcd:2379. With http://, Secrets of the tenant cross the
	// network in plain text.
	// Default: ""
	Endpoint string `json:"endpoint" format:"etcd-endpoints,optional"`
	// Prefix of all keys of the virtual cluster. Each virtual cluster on an etcd needs its own. Empty
	// means /sublet.dev/UID/, with the UID of the ConfigMap RELEASE-anchor.
	// Default: ""
	KeyPrefix string `json:"keyPrefix" format:"key-prefix,optional"`
	// Certificates for endpoints with https://. Each new connection reads them again.
	TLS ExternalEtcdTLS `json:"tls"`
}

// ExternalEtcdTLS has the certificates with which the control plane connects to an etcd.
type ExternalEtcdTLS struct {
	// Secret in the namespace of the release with the files below. The pod mounts it at
	// /etc/sublet-store, and below moveFrom at /etc/sublet-store-from. Empty means that no Secret is
	// mounted.
	// Default: ""
	Secret string `json:"secret" format:"object-name,optional"`
	// Authorities that sign the certificates of the etcd: a key of the Secret, or an absolute path.
	// Empty means ca.crt of the Secret, or else the authorities that the system trusts.
	// Default: ""
	CAFile string `json:"caFile" format:"file-name,optional"`
	// Client certificate: a key of the Secret, or an absolute path. Empty means tls.crt of the Secret,
	// or else none.
	// Default: ""
	CertFile string `json:"certFile" format:"file-name,optional"`
	// Key of the client certificate: a key of the Secret, or an absolute path. Empty means tls.key of
	// the Secret, or else none.
	// Default: ""
	KeyFile string `json:"keyFile" format:"file-name,optional"`
}

// Endpoints returns the URLs of the members.
func (e ExternalEtcd) Endpoints() []string { return strings.Split(e.Endpoint, ",") }

// Store is a kind of store. Its value is the path of its settings below
// controlPlane.backingStore.
type Store string

// The kinds of store. An etcd in the control plane process is the default.
const (
	StoreEmbeddedEtcd Store = "etcd.embedded"
	StoreExternalEtcd Store = "etcd.external"
	StoreSQLite       Store = "database.embedded"
	StoreDatabase     Store = "database.external"
)

// backingStorePath is the path of the settings of all stores.
const backingStorePath = "controlPlane.backingStore."

// Setting returns the full path of the setting that enables the store.
func (s Store) Setting() string { return backingStorePath + string(s) + ".enabled" }

// storeChoices returns whether each kind of store other than the default is enabled. It
// is the only list of them: the rules of the server and of the chart follow from it.
func (b *BackingStore) storeChoices() []storeChoice {
	return []storeChoice{
		{StoreExternalEtcd, b.Etcd.External.Enabled},
		{StoreSQLite, b.Database.Embedded.Enabled},
		{StoreDatabase, b.Database.External.Enabled},
	}
}

type storeChoice struct {
	store   Store
	enabled bool
}

// OtherStores returns the kinds of store other than the default.
func OtherStores() []Store {
	var stores []Store
	for _, choice := range new(BackingStore).storeChoices() {
		stores = append(stores, choice.store)
	}
	return stores
}

// Store returns the store that is enabled. It returns an empty string unless exactly one
// is.
func (b *BackingStore) Store() Store {
	enabled := b.enabled()
	if len(enabled) != 1 {
		return ""
	}
	return enabled[0]
}

// enabled returns the kinds of store that are enabled.
func (b *BackingStore) enabled() []Store {
	var enabled []Store
	for _, choice := range b.storeChoices() {
		if choice.enabled {
			enabled = append(enabled, choice.store)
		}
	}
	if b.Etcd.Embedded.Enabled == SwitchOn || b.Etcd.Embedded.Enabled == SwitchAuto && len(enabled) == 0 {
		enabled = append(enabled, StoreEmbeddedEtcd)
	}
	return enabled
}

// storeCombinations returns the rule that one store is enabled.
func storeCombinations() []Combination {
	var others []string
	for _, store := range OtherStores() {
		others = append(others, store.Setting())
	}
	detail := "exactly one store must be enabled; set one of " + strings.Join(others, ", ") +
		" to true and leave this auto, or set only this to true"
	return append(append(externalEtcdCombinations(), databaseCombinations()...), Combination{
		Name: "one-store", Path: StoreEmbeddedEtcd.Setting(), With: others, Detail: detail,
		Violated: func(c *Config) bool { return c.ControlPlane.BackingStore.Store() == "" },
	})
}

// externalEtcdCombinations returns the rules about an etcd outside of the control plane.
func externalEtcdCombinations() []Combination {
	const external = backingStorePath + "etcd.external."
	return []Combination{
		{
			Name: "external-etcd-without-endpoint", Path: external + "endpoint",
			With:   []string{external + "enabled"},
			Detail: external + "enabled is true, so it needs at least one URL, such as https://etcd.example.com:2379",
			Violated: func(c *Config) bool {
				e := c.ControlPlane.BackingStore.Etcd.External
				return e.Enabled && e.Endpoint == ""
			},
		},
		{
			Name: "external-etcd-half-a-certificate", Path: external + "tls.certFile",
			With:   []string{external + "tls.keyFile"},
			Detail: "a client certificate and its key belong together; set " + external + "tls.keyFile too, or neither",
			Violated: func(c *Config) bool {
				tls := c.ControlPlane.BackingStore.Etcd.External.TLS
				return (tls.CertFile == "") != (tls.KeyFile == "")
			},
		},
		{
			Name: "external-etcd-plain-with-secret", Path: external + "tls.secret",
			With:   []string{external + "endpoint"},
			Detail: external + "endpoint begins with http://, so no certificates are used; write https:// there, or leave the Secret out",
			Violated: func(c *Config) bool {
				e := c.ControlPlane.BackingStore.Etcd.External
				return e.TLS.Secret != "" && strings.HasPrefix(e.Endpoint, "http://")
			},
		},
	}
}

func defaultBackingStore() BackingStore {
	return BackingStore{
		Etcd:     Etcd{Embedded: EmbeddedEtcd{Enabled: SwitchAuto, Quota: resource.MustParse("0")}},
		Database: defaultDatabase(),
		MoveFrom: MoveFrom{Database: MoveFromDatabase{External: defaultDatabase().External}},
		Backup:   defaultBackup(),
	}
}
