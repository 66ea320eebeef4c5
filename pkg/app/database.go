package app

import (
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"
	"strings"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/controlplane/loopback"
	"github.com/sublet-dev/sublet/pkg/storage"
)

const (
	// dataSourceFile is the key of a mounted Secret that contains the data source of a database.
	dataSourceFile = "dataSource"
	// maxDatabaseName is the length of the longest identifier in PostgreSQL.
	maxDatabaseName = 63
)

// newSQLite returns an SQLite store on the volume.
func (a *configuration) newSQLite(use storeUse) *storage.Kine {
	store := storage.SQLite(a.sqliteDir())
	store.VolumeSize = a.values.ControlPlane.StatefulSet.Persistence.VolumeClaim.Size.Value()
	store.Reserve = storeReserve
	store.IsInternal = loopback.IsLoopback
	store.Register = use.register
	return store
}

// sqliteDir returns the directory of the SQLite database.
func (a *configuration) sqliteDir() string { return filepath.Join(a.storeDir(), "sqlite") }

// databaseOptions returns the connection options of an external database.
func (a *configuration) databaseOptions(settings v1alpha1.ExternalDatabase, use storeUse) storage.DatabaseOptions {
	options := storage.DatabaseOptions{
		DataSource: settings.DataSource,
		Name:       databaseName(a.names.Namespace, a.names.Name),
		TLS:        storage.TLSFiles{CA: settings.CAFile, Cert: settings.CertFile, Key: settings.KeyFile},
	}
	if settings.DataSourceSecret.Name != "" {
		options.DataSourceFile = filepath.Join(use.secretDir, dataSourceFile)
	}
	if settings.TLSSecret != "" {
		options.TLS.Dir = use.secretDir
	}
	return options
}

// newDatabase returns a store in an external database.
func (a *appWithFacts) newDatabase(options storage.DatabaseOptions, use storeUse) *storage.Kine {
	store := storage.Database(options)
	store.Shared = a.replicas() > 1
	store.Waiter = storage.Waiter{Report: a.reportStore}
	store.IsInternal = loopback.IsLoopback
	store.Register = use.register
	return store
}

// databaseName returns the name of the database of a release. The hash keeps names apart that
// become equal once their dashes are replaced or they are cut.
func databaseName(namespace, name string) string {
	sum := sha256.Sum256([]byte(namespace + "/" + name))
	suffix := "_" + hex.EncodeToString(sum[:4])
	readable := "sublet_" + strings.ReplaceAll(namespace+"_"+name, "-", "_")
	return readable[:min(len(readable), maxDatabaseName-len(suffix))] + suffix
}
