package kinds

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	apilabels "k8s.io/apimachinery/pkg/labels"

	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// VolumeSnapshotClasses shows the host's snapshot classes, which the tenant's snapshots name
// as they are. It leaves out parameters. They name Secrets and pools of the host, and only the
// host's driver reads them.
func VolumeSnapshotClasses(Options) syncer.Resource[*unstructured.Unstructured, *unstructured.Unstructured] {
	return syncer.Resource[*unstructured.Unstructured, *unstructured.Unstructured]{
		Owner:      syncer.Host,
		Names:      translate.Same,
		NewVirtual: emptySnapshotClass,
		NewHost:    emptySnapshotClass,
		Origin:     sameName[*unstructured.Unstructured],
		Select:     apilabels.Everything(),
		Want:       isOfOriginal[*unstructured.Unstructured],
		Up: func(_ syncer.Scope, host, virtual *unstructured.Unstructured) error {
			copyMetadata(host, virtual, defaultSnapshotClass)
			setFields(virtual, host, "driver", "deletionPolicy")
			return nil
		},
	}
}
