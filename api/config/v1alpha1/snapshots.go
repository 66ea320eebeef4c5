package v1alpha1

import (
	"slices"
	"strings"
)

// snapshotsSetting is the path of the settings of the tenant's snapshots of volumes.
const snapshotsSetting = "sync.toHost.volumeSnapshots"

// snapshotClassesSetting is the path of the settings of the host's snapshot classes.
const snapshotClassesSetting = "sync.fromHost.volumeSnapshotClasses"

// snapshotGroup is the API group of snapshots of volumes.
const snapshotGroup = "snapshot.storage.k8s.io"

// hasCustomSnapshots reports whether a kind of snapshotGroup is on as a custom resource.
func (s *Sync) hasCustomSnapshots() bool {
	return slices.ContainsFunc(s.customResourceKeys(), func(key string) bool {
		definition, _ := SplitCustomResource(key)
		return strings.HasSuffix(definition, "."+snapshotGroup)
	})
}

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
		needs("snapshots-without-classes", snapshotClassesSetting, "a snapshot needs a snapshot class of the host, and none is shown"),
		needs("snapshots-without-claims", "sync.toHost.persistentVolumeClaims", "a snapshot needs a claim on the host, and none is there"),
		{
			Name: "snapshots-as-custom-resources", Path: "sync.toHost.customResources",
			With: []string{"sync.fromHost.customResources", snapshotsSetting + ".enabled", snapshotClassesSetting + ".enabled"},
			Detail: "kinds of " + snapshotGroup + " are on twice, as custom resources and by " + snapshotsSetting + " or " + snapshotClassesSetting +
				"; leave the entries of customResources out",
			Violated: func(c *Config) bool {
				return (c.Sync.IsEnabled(snapshotsSetting) || c.Sync.IsEnabled(snapshotClassesSetting)) && c.Sync.hasCustomSnapshots()
			},
		},
	}
}
