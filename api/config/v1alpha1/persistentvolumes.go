package v1alpha1

// volumesSetting is the path of the settings of volumes, which no kind of the table has.
const volumesSetting = "sync.toHost.persistentVolumes"

// PersistentVolumes are the settings of the volumes of the tenant's claims.
type PersistentVolumes struct {
	// Apply reclaim policies that the tenant sets on volumes of its claims to the host first (needs get and
	// patch on persistentvolumes). Nothing else of a volume can be changed, and the tenant still makes none. If
	// false, the policy is that of the class. Unlike in vCluster, volumes that the tenant makes are not synced.
	// Default: false
	Enabled bool `json:"enabled"`
}

// volumeCombinations returns the rules about volumes.
func volumeCombinations() []Combination {
	const claims, volumes = "sync.toHost.persistentVolumeClaims.enabled", volumesSetting + ".enabled"
	return []Combination{{
		Name: "volumes-without-claims", Path: volumes, With: []string{claims},
		Detail: claims + " is false, so the tenant has no volumes of the host; set that to true, or this to false",
		Violated: func(c *Config) bool {
			return c.Sync.ToHost.PersistentVolumes.Enabled && !c.Sync.IsEnabled("sync.toHost.persistentVolumeClaims")
		},
	}}
}
