package v1alpha1

// Database has the settings of a store that is an SQL database.
type Database struct {
	// SQLite in the control plane process.
	Embedded EmbeddedDatabase `json:"embedded"`
	// MySQL, MariaDB or PostgreSQL that somebody else runs. Several virtual clusters can share a
	// server: each has a database, or a schema, of its own.
	External ExternalDatabase `json:"external"`
}

// EmbeddedDatabase has the settings of SQLite in the control plane process.
type EmbeddedDatabase struct {
	// Keep the objects in SQLite, on the volume of the control plane. It takes one replica. The
	// embedded etcd is faster.
	// Default: false
	Enabled bool `json:"enabled"`
}

// ExternalDatabase has the settings of a database outside of the control plane.
type ExternalDatabase struct {
	// Use this database. It must be MySQL 8.0, MariaDB 10.6, PostgreSQL 13 or later.
	// Default: false
	Enabled bool `json:"enabled"`
	// Address with user and password: mysql://USER:PASSWORD@tcp(HOST:PORT)/DATABASE or
	// postgres://USER:PASSWORD@HOST:PORT/DATABASE. It is in plain text in the values: prefer
	// dataSourceSecret. Without a database, the name is sublet_NAMESPACE_RELEASE_HASH. A missing
	// database is created if the user may. With ?search_path=SCHEMA, PostgreSQL uses that schema.
	// Default: ""
	DataSource string `json:"dataSource"`
	// Secret in the namespace of the release that has the address instead.
	DataSourceSecret SecretKey `json:"dataSourceSecret"`
	// Port of the database that the network policy of the control plane allows. 0 means that of
	// dataSource, or 5432 and 3306 if there is none.
	// Default: 0
	Port int32 `json:"port" min:"0" max:"65535"`
	// Secret in the namespace of the release with the files below. The pod mounts it at
	// /etc/sublet-store, and below moveFrom at /etc/sublet-store-from. Empty means that no Secret is
	// mounted.
	// Default: ""
	TLSSecret string `json:"tlsSecret" format:"object-name,optional"`
	// Authorities that sign the certificate of the server: a key of tlsSecret, or an absolute path.
	// Empty means ca.crt of tlsSecret. With it, the connection is encrypted and the server is checked.
	// Default: ""
	CAFile string `json:"caFile" format:"file-name,optional"`
	// Client certificate: a key of tlsSecret, or an absolute path. Empty means tls.crt of tlsSecret, or
	// else none.
	// Default: ""
	CertFile string `json:"certFile" format:"file-name,optional"`
	// Key of the client certificate: a key of tlsSecret, or an absolute path. Empty means tls.key of
	// tlsSecret, or else none.
	// Default: ""
	KeyFile string `json:"keyFile" format:"file-name,optional"`
}

// SecretKey names a key of a Secret.
type SecretKey struct {
	// Name of the Secret. Empty means none.
	// Default: ""
	Name string `json:"name" format:"object-name,optional"`
	// Key of the Secret.
	// Default: dataSource
	Key string `json:"key" format:"file-name"`
}

// databaseCombinations returns the rules about databases.
func databaseCombinations() []Combination {
	const external = backingStorePath + "database.external."
	const ha = "controlPlane.statefulSet.highAvailability."
	return []Combination{
		{
			Name: "database-without-source", Path: external + "dataSourceSecret.name",
			With:   []string{external + "enabled", external + "dataSource"},
			Detail: external + "enabled is true, so it needs an address; set this, or " + external + "dataSource",
			Violated: func(c *Config) bool {
				e := c.ControlPlane.BackingStore.Database.External
				return e.Enabled && e.DataSource == "" && e.DataSourceSecret.Name == ""
			},
		},
		{
			Name: "database-with-two-sources", Path: external + "dataSourceSecret.name",
			With:   []string{external + "dataSource"},
			Detail: external + "dataSource has an address too; leave one of them out",
			Violated: func(c *Config) bool {
				e := c.ControlPlane.BackingStore.Database.External
				return e.DataSource != "" && e.DataSourceSecret.Name != ""
			},
		},
		{
			Name: "database-half-a-certificate", Path: external + "certFile",
			With:   []string{external + "keyFile"},
			Detail: "a client certificate and its key belong together; set " + external + "keyFile too, or neither",
			Violated: func(c *Config) bool {
				e := c.ControlPlane.BackingStore.Database.External
				return (e.CertFile == "") != (e.KeyFile == "")
			},
		},
		{
			Name: "replicas-of-sqlite", Path: ha + "replicas",
			With: []string{StoreSQLite.Setting(), ha + "enabled"},
			Detail: "SQLite is a file that one replica opens; set " + ha + "enabled to false, or use another store, such as " +
				StoreEmbeddedEtcd.Setting(),
			Violated: func(c *Config) bool {
				return c.ControlPlane.BackingStore.Database.Embedded.Enabled && c.ControlPlane.StatefulSet.HighAvailability.Count() > 1
			},
		},
	}
}

func defaultDatabase() Database {
	return Database{External: ExternalDatabase{DataSourceSecret: SecretKey{Key: "dataSource"}}}
}
