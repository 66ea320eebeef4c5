package policy

import (
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
)

const (
	// SnapshotGroup is the API group of snapshots of volumes.
	SnapshotGroup = "snapshot.storage.k8s.io"
	// SnapshotsSetting is the path of the settings of the tenant's snapshots.
	SnapshotsSetting = "sync.toHost.volumeSnapshots"
	// SnapshotClassesSetting is the path of the settings of the host's snapshot classes.
	SnapshotClassesSetting = "sync.fromHost.volumeSnapshotClasses"
)

// SnapshotClass is a snapshot class of the host that the tenant sees.
type SnapshotClass struct {
	Name string
	// IsDefault specifies whether snapshots of its driver without a class get this one.
	IsDefault bool
}

// ServesSnapshots reports whether the virtual cluster serves snapshots of volumes.
func ServesSnapshots(settings *v1alpha1.Config) bool {
	return settings.Sync.IsEnabled(SnapshotsSetting) || settings.Sync.IsEnabled(SnapshotClassesSetting)
}

// CheckSnapshot returns the fields of a new snapshot that are not allowed. shown are the
// classes that the tenant sees.
func CheckSnapshot(snapshot *unstructured.Unstructured, shown []SnapshotClass) []Violation {
	var violations []Violation
	if content, found, _ := unstructured.NestedString(snapshot.Object, "spec", "source", "volumeSnapshotContentName"); found {
		violations = append(violations, Violation{
			Field: "spec.source.volumeSnapshotContentName", Value: content,
			Detail: "contents are the host's, and may be of others; name a claim in spec.source.persistentVolumeClaimName",
		})
	}
	var names []string
	for _, class := range shown {
		names = append(names, class.Name)
	}
	slices.Sort(names)
	const field = "spec.volumeSnapshotClassName"
	class, named, _ := unstructured.NestedString(snapshot.Object, "spec", "volumeSnapshotClassName")
	switch {
	case named && !slices.Contains(names, class):
		violations = append(violations, Violation{
			Field: field, Value: class, Setting: SnapshotClassesSetting + ".selector",
			Detail: "this virtual cluster has no such snapshot class of the host; there are: " + list(names),
		})
	case !named && !slices.ContainsFunc(shown, func(c SnapshotClass) bool { return c.IsDefault }):
		violations = append(violations, Violation{
			Field: field, Setting: SnapshotClassesSetting + ".selector",
			Detail: "must be set, as no snapshot class of this virtual cluster is a default; there are: " + list(names),
		})
	}
	return violations
}
