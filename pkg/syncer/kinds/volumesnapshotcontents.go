package kinds

import (
	"cmp"
	"fmt"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// byContent is the field of the index of host snapshots by their content.
const byContent = "status.boundVolumeSnapshotContentName"

// VolumeSnapshotContents creates a virtual content for each bound host snapshot of ours. It has the name
// of the host's content, and the fields that the snapshot shows. The host's contents themselves are
// never read, because that would need a cluster-wide permission and disclose the snapshots of others.
func VolumeSnapshotContents(Options) syncer.Resource[*unstructured.Unstructured, *unstructured.Unstructured] {
	return syncer.Resource[*unstructured.Unstructured, *unstructured.Unstructured]{
		Owner:      syncer.Host,
		Names:      translate.Same,
		NewVirtual: emptySnapshotContent,
		NewHost:    emptySnapshot,
		Origin: func(s syncer.Scope, host *unstructured.Unstructured) (types.NamespacedName, bool) {
			_, ours := provenOrigin(s, host)
			name := contentName(host)
			return types.NamespacedName{Name: name}, ours && name != ""
		},
		FindOriginal: snapshotOfContent,
		Want:         isOfOriginal[*unstructured.Unstructured],
		Up:           fillVirtualContent,
		Indexes:      []syncer.Index{{Side: syncer.Host, Object: emptySnapshot(), Field: byContent, Values: contentNames}},
	}
}

// contentName returns the name of the content of a host snapshot, empty for none.
func contentName(host *unstructured.Unstructured) string {
	return field(host, "status", "boundVolumeSnapshotContentName")
}

// contentNames returns the values of byContent.
func contentNames(object client.Object) []string {
	if snapshot, ok := object.(*unstructured.Unstructured); ok && contentName(snapshot) != "" {
		return []string{contentName(snapshot)}
	}
	return nil
}

// snapshotOfContent returns the host snapshot of ours that has a content.
func snapshotOfContent(s syncer.Scope, virtual types.NamespacedName) (*unstructured.Unstructured, bool, error) {
	snapshots, err := listSnapshotObjects(s.Context, s.Host, "VolumeSnapshot",
		client.InNamespace(s.Cluster.Namespace), client.MatchingFields{byContent: virtual.Name})
	if err != nil {
		return nil, false, fmt.Errorf("cannot list snapshots of the host: %w", err)
	}
	for i := range snapshots {
		if _, ours := provenOrigin(s, &snapshots[i]); ours {
			return &snapshots[i], true, nil
		}
	}
	return nil, false, nil
}

// fillVirtualContent fills in the virtual content. Its driver and its deletion policy are
// those of its class. The handle is the name of the host's content: the real one is for its
// driver alone.
func fillVirtualContent(s syncer.Scope, host, virtual *unstructured.Unstructured) error {
	snapshot, uid, _ := translate.Origin(s.Cluster, translate.Hashed, host)
	className := field(host, "spec", "volumeSnapshotClassName")
	class, err := shownSnapshotClass(s, className)
	if err != nil {
		return err
	}
	driver, policy := hostVolumeDriver, "Delete"
	if class != nil {
		driver, policy = cmp.Or(field(class, "driver"), driver), cmp.Or(field(class, "deletionPolicy"), policy)
	}
	spec := map[string]any{
		"driver": driver, "deletionPolicy": policy,
		"source": map[string]any{"snapshotHandle": contentName(host)},
		"volumeSnapshotRef": map[string]any{
			"apiVersion": snapshotGroup + "/v1", "kind": "VolumeSnapshot",
			"namespace": snapshot.Namespace, "name": snapshot.Name, "uid": string(uid),
		},
	}
	if className != "" {
		spec["volumeSnapshotClassName"] = className
	}
	virtual.Object["spec"] = spec
	status := map[string]any{"snapshotHandle": contentName(host)}
	if ready, found, _ := unstructured.NestedBool(host.Object, "status", "readyToUse"); found {
		status["readyToUse"] = ready
	}
	if size, err := resource.ParseQuantity(field(host, "status", "restoreSize")); err == nil {
		status["restoreSize"] = size.Value()
	}
	virtual.Object["status"] = status
	return nil
}
