package v1alpha1

// snapshotsSetting is the path of the settings of the tenant's snapshots of volumes.
const snapshotsSetting = "sync.toHost.volumeSnapshots"

// snapshotCombinations returns the rules about snapshots of volumes. They are of claims, and
// of a class of the host.
func snapshotCombinations() []Combination {
	needs := func(name, setting, detail string) Combination {
		return Combination{
			Name: name, Path: snapshotsSetting + ".enabled", With: []string{setting + ".enabled"},
			Detail:   detail + "; set " + setting + ".enabled to true, or this to false",
			Violated: func(c *Config) bool { return c.Sync.IsEnabled(snapshotsSetting) && !c.Sync.IsEnabled(setting) },
		}
	}
	return []Combination{
		needs("snapshots-without-classes", "sync.fromHost.volumeSnapshotClasses", "a snapshot needs a snapshot class of the host, and none is shown"),
		needs("snapshots-without-claims", "sync.toHost.persistentVolumeClaims", "a snapshot needs a claim on the host, and none is there"),
	}
}
