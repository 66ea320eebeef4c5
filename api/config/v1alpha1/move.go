package v1alpha1

import (
	"fmt"
	"slices"
)

// MoveFrom has the settings of the store that the virtual cluster had before. They have the
// form of the settings of the store itself.
type MoveFrom struct {
	// The store was an etcd.
	Etcd MoveFromEtcd `json:"etcd"`
	// The store was an SQL database.
	Database MoveFromDatabase `json:"database"`
}

// MoveFromDatabase has the settings of an SQL database to move from.
type MoveFromDatabase struct {
	// SQLite on the volume of the pod.
	Embedded MoveFromVolume `json:"embedded"`
	// Database that somebody else runs. The pod mounts its Secrets at /etc/sublet-store-from.
	External ExternalDatabase `json:"external"`
}

// MoveFromEtcd has the settings of an etcd to move from.
type MoveFromEtcd struct {
	// Etcd in the control plane process, on the volume of the pod.
	Embedded MoveFromVolume `json:"embedded"`
	// Etcd that somebody else runs. The pod mounts its Secret at /etc/sublet-store-from.
	External ExternalEtcd `json:"external"`
}

// MoveFromVolume has the settings of a store on the volume of the pod to move from.
type MoveFromVolume struct {
	// Move the virtual cluster from this store.
	// Default: false
	Enabled bool `json:"enabled"`
}

// moveFromPath is the path of the settings of the store to move from.
const moveFromPath = backingStorePath + "moveFrom."

// Source returns the settings of the store to move from. ok is false if there is none.
func (b *BackingStore) Source() (source BackingStore, ok bool) {
	source = BackingStore{Etcd: Etcd{External: b.MoveFrom.Etcd.External}, Database: Database{
		Embedded: EmbeddedDatabase{Enabled: b.MoveFrom.Database.Embedded.Enabled}, External: b.MoveFrom.Database.External,
	}}
	source.Etcd.Embedded.Enabled = SwitchOff
	if b.MoveFrom.Etcd.Embedded.Enabled {
		source.Etcd.Embedded = EmbeddedEtcd{Enabled: SwitchOn, Quota: b.Etcd.Embedded.Quota}
	}
	return source, len(source.enabled()) > 0
}

// moveSources returns the settings that enable a store to move from.
func moveSources() []string {
	var all []string
	for _, store := range append([]Store{StoreEmbeddedEtcd}, OtherStores()...) {
		all = append(all, moveFromPath+string(store)+".enabled")
	}
	return all
}

// moveCombinations returns the rules about moving a store.
func moveCombinations() []Combination {
	const external = moveFromPath + "etcd.external."
	const database = moveFromPath + "database.external."
	sources := moveSources()
	return []Combination{
		{
			Name: "move-from-several", Path: sources[0], With: sources[1:],
			Detail: "a virtual cluster has one store; enable only that one below " + backingStorePath + "moveFrom",
			Violated: func(c *Config) bool {
				source, _ := c.ControlPlane.BackingStore.Source()
				return len(source.enabled()) > 1
			},
		},
		{
			Name: "move-from-itself", Path: sources[0], With: []string{StoreEmbeddedEtcd.Setting()},
			Detail: "the store is the same embedded etcd; enable another store to move to, or leave this out",
			Violated: func(c *Config) bool {
				b := &c.ControlPlane.BackingStore
				return b.MoveFrom.Etcd.Embedded.Enabled && b.Store() == StoreEmbeddedEtcd
			},
		},
		{
			Name: "move-from-itself-sqlite", Path: moveFromPath + string(StoreSQLite) + ".enabled", With: []string{StoreSQLite.Setting()},
			Detail: "the store is the same SQLite; enable another store to move to, or leave this out",
			Violated: func(c *Config) bool {
				b := &c.ControlPlane.BackingStore
				return b.MoveFrom.Database.Embedded.Enabled && b.Store() == StoreSQLite
			},
		},
		{
			Name: "move-from-without-source", Path: database + "dataSourceSecret.name", With: []string{database + "enabled", database + "dataSource"},
			Detail: database + "enabled is true, so it needs an address; set this, or " + database + "dataSource",
			Violated: func(c *Config) bool {
				e := c.ControlPlane.BackingStore.MoveFrom.Database.External
				return e.Enabled && e.DataSource == "" && e.DataSourceSecret.Name == ""
			},
		},
		{
			Name: "move-from-without-endpoint", Path: external + "endpoint", With: []string{external + "enabled"},
			Detail: external + "enabled is true, so it needs at least one URL, such as https://etcd.example.com:2379",
			Violated: func(c *Config) bool {
				e := c.ControlPlane.BackingStore.MoveFrom.Etcd.External
				return e.Enabled && e.Endpoint == ""
			},
		},
	}
}

// SourceFor returns the settings of the named store, enabled or not, to move from it. An address
// below moveFrom comes before that of the store itself. The other results are those of TargetFor.
func (b *BackingStore) SourceFor(store Store) (settings BackingStore, belowMoveFrom bool, err error) {
	if source, _ := b.Source(); source.hasAddress(store) {
		return source.only(store), true, nil
	}
	return b.TargetFor(store)
}

// TargetFor returns the settings of the named store, enabled or not, to move to it. If it has an
// address only below moveFrom, they are those, and belowMoveFrom is true. It refuses a store that does
// not exist, and one whose address neither place has.
func (b *BackingStore) TargetFor(store Store) (settings BackingStore, belowMoveFrom bool, err error) {
	source, _ := b.Source()
	switch {
	case store == StoreEmbeddedEtcd || store == StoreSQLite || b.hasAddress(store):
		return b.only(store), false, nil
	case !slices.Contains(OtherStores(), store):
		return BackingStore{}, false, fmt.Errorf("cannot use store %q: it must be %s or one of %v", store, StoreEmbeddedEtcd, OtherStores())
	case source.hasAddress(store):
		return source.only(store), true, nil
	default:
		return BackingStore{}, false, fmt.Errorf("cannot use store %s: its address must be in %s%s, or in the same settings below %s",
			store, backingStorePath, store, moveFromPath)
	}
}

// only returns the settings with one store enabled and all others disabled.
func (b *BackingStore) only(store Store) BackingStore {
	one := *b
	one.Etcd.Embedded.Enabled = SwitchOff
	if store == StoreEmbeddedEtcd {
		one.Etcd.Embedded.Enabled = SwitchOn
	}
	one.Etcd.External.Enabled = store == StoreExternalEtcd
	one.Database.Embedded.Enabled = store == StoreSQLite
	one.Database.External.Enabled = store == StoreDatabase
	return one
}

// hasAddress reports whether the settings have an address of the store, enabled or not. A store
// on the volume has none.
func (b *BackingStore) hasAddress(store Store) bool {
	external, database := &b.Etcd.External, &b.Database.External
	return store == StoreExternalEtcd && external.Endpoint != "" ||
		store == StoreDatabase && (database.DataSource != "" || database.DataSourceSecret.Name != "")
}
