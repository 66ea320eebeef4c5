package v1alpha1

import (
	"testing"
)

// TestNamedStores names stores that are enabled, that were moved from, and that are unknown.
func TestNamedStores(t *testing.T) {
	t.Parallel()
	settings := Default().ControlPlane.BackingStore
	settings.Etcd.External.Endpoint = "http://new:2379"
	settings.MoveFrom.Etcd.External.Endpoint = "http://old:2379"
	settings.MoveFrom.Database.External.DataSource = "postgres://old/"
	const isUnknown = `cannot use store "etcd": it must be etcd.embedded or one of [etcd.external database.embedded database.external]`
	noAddress := Default().ControlPlane.BackingStore
	for _, c := range []struct {
		reason        string
		settings      BackingStore
		find          func(*BackingStore, Store) (BackingStore, bool, error)
		store         Store
		address       string
		belowMoveFrom bool
		err           string
	}{
		{"the default store needs no address", settings, (*BackingStore).SourceFor, StoreEmbeddedEtcd, "", false, ""},
		{"SQLite needs no address", settings, (*BackingStore).TargetFor, StoreSQLite, "", false, ""},
		{"the target has its own settings", settings, (*BackingStore).TargetFor, StoreExternalEtcd, "http://new:2379", false, ""},
		{"the source has those below moveFrom", settings, (*BackingStore).SourceFor, StoreExternalEtcd, "http://old:2379", true, ""},
		{"a move back goes to the store below moveFrom", settings, (*BackingStore).TargetFor, StoreDatabase, "postgres://old/", true, ""},
		{"an unknown store", settings, (*BackingStore).TargetFor, "etcd", "", false, isUnknown},
		{
			"no address", noAddress, (*BackingStore).SourceFor, StoreDatabase, "", false, "cannot use store database.external: its address must be in " +
				"controlPlane.backingStore.database.external, or in the same settings below controlPlane.backingStore.moveFrom.",
		},
	} {
		t.Run(c.reason, func(t *testing.T) {
			t.Parallel()
			got, belowMoveFrom, err := c.find(&c.settings, c.store)
			if text := errorText(err); text != c.err {
				t.Fatalf("got error %q, want %q", text, c.err)
			}
			if err != nil {
				return
			}
			address := ""
			switch c.store {
			case StoreExternalEtcd:
				address = got.Etcd.External.Endpoint
			case StoreDatabase:
				address = got.Database.External.DataSource
			case StoreEmbeddedEtcd, StoreSQLite:
			}
			if got.Store() != c.store || belowMoveFrom != c.belowMoveFrom || address != c.address {
				t.Errorf("got store %s at %q, below moveFrom: %v, want %s at %q, below moveFrom: %v",
					got.Store(), address, belowMoveFrom, c.store, c.address, c.belowMoveFrom)
			}
		})
	}
}

// errorText returns the text of an error, empty if there is none.
func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
