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
}

// Etcd has the settings of a store that is an etcd.
type Etcd struct {
	// Etcd in the control plane process.
	Embedded EmbeddedEtcd `json:"embedded"`
}

// EmbeddedEtcd has the settings of an etcd in the control plane process.
type EmbeddedEtcd struct {
	// Run etcd in the control plane process. With auto, it runs unless another store is enabled.
	// Default: auto
	Enabled Toggle `json:"enabled"`
	// Size in bytes that the database file may reach. 0 means that it follows from the volume and the
	// memory limit.
	// Default: "0"
	Quota resource.Quantity `json:"quota"`
}

// Store is a kind of store. Its value is the path of its settings below
// controlPlane.backingStore.
type Store string

// StoreEmbeddedEtcd is an etcd in the control plane process, the default.
const StoreEmbeddedEtcd Store = "etcd.embedded"

// backingStorePath is the path of the settings of all stores.
const backingStorePath = "controlPlane.backingStore."

// Setting returns the full path of the setting that enables the store.
func (s Store) Setting() string { return backingStorePath + string(s) + ".enabled" }

// storeChoices returns whether each kind of store other than the default is enabled. It
// is the only list of them: the rules of the server and of the chart follow from it.
func (b *BackingStore) storeChoices() []storeChoice {
	return nil
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
	var enabled []Store
	for _, choice := range b.storeChoices() {
		if choice.enabled {
			enabled = append(enabled, choice.store)
		}
	}
	if b.Etcd.Embedded.Enabled == ToggleOn || b.Etcd.Embedded.Enabled == ToggleAuto && len(enabled) == 0 {
		enabled = append(enabled, StoreEmbeddedEtcd)
	}
	if len(enabled) != 1 {
		return ""
	}
	return enabled[0]
}

// storeCombinations returns the rule that one store is enabled.
func storeCombinations() []Combination {
	var others []string
	for _, store := range OtherStores() {
		others = append(others, store.Setting())
	}
	detail := "there is no other store; leave it auto"
	if len(others) > 0 {
		detail = "exactly one store must be enabled; set one of " + strings.Join(others, ", ") +
			" to true and leave this auto, or set only this to true"
	}
	return []Combination{{
		Name: "one-store", Path: StoreEmbeddedEtcd.Setting(), With: others, Detail: detail,
		Violated: func(c *Config) bool { return c.ControlPlane.BackingStore.Store() == "" },
	}}
}

func defaultBackingStore() BackingStore {
	return BackingStore{Etcd: Etcd{
		Embedded: EmbeddedEtcd{Enabled: ToggleAuto, Quota: resource.MustParse("0")},
	}}
}
