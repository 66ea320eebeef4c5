package v1alpha1

const splitPath = "controlPlane.advanced.split."

// Split has the settings of a control plane in two workloads.
type Split struct {
	// Run the controllers, the syncer and the virtual scheduler in the StatefulSet
	// RELEASE-controllers. The StatefulSet RELEASE serves the API and DNS alone, and
	// highAvailability.replicas and autoscaling are about it. Needs the store etcd.external or
	// database.external, and a release name of at most 40 characters.
	// Default: false
	Enabled bool `json:"enabled"`
	// Replicas of RELEASE-controllers. One of them leads.
	// Default: 1
	Replicas int32 `json:"replicas" min:"1" max:"9"`
}

// BackupReplicas returns how many replicas mount the claim of the backups, at most.
func (c ControlPlane) BackupReplicas() int {
	if c.Advanced.Split.Enabled {
		return int(c.Advanced.Split.Replicas)
	}
	return c.StatefulSet.MaxReplicas()
}

// isMoving reports whether the settings name a store to move from.
func (b *BackingStore) isMoving() bool {
	m := b.MoveFrom
	return m.Etcd.Embedded.Enabled || m.Etcd.External.Enabled || m.Database.Embedded.Enabled || m.Database.External.Enabled
}

// splitCombinations returns the rules about a control plane in two workloads.
func splitCombinations() []Combination {
	return []Combination{
		{
			Name: "split-of-own-store", Path: splitPath + "enabled",
			Detail: "both workloads use the store, and " + string(StoreEmbeddedEtcd) + " and " + string(StoreSQLite) +
				" are inside of one; use " + string(StoreExternalEtcd) + " or " + string(StoreDatabase) + ", or set this to false",
			Violated: func(c *Config) bool {
				return c.ControlPlane.Advanced.Split.Enabled && !c.ControlPlane.BackingStore.IsShared()
			},
		},
		{
			Name: "split-while-moving", Path: splitPath + "enabled",
			Detail: "a store below " + backingStorePath + "moveFrom is enabled, and one workload moves it; move first, then set this to true",
			Violated: func(c *Config) bool {
				return c.ControlPlane.Advanced.Split.Enabled && c.ControlPlane.BackingStore.isMoving()
			},
		},
		{
			Name: "split-while-restoring", Path: splitPath + "enabled",
			With:   []string{backingStorePath + "backup.restoreFrom"},
			Detail: backingStorePath + "backup.restoreFrom is set, and one workload restores; restore first, then set this to true",
			Violated: func(c *Config) bool {
				return c.ControlPlane.Advanced.Split.Enabled && c.ControlPlane.BackingStore.Backup.RestoreFrom != ""
			},
		},
	}
}
