package kinds

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sublet-dev/sublet/pkg/syncer"
)

// VolumeSnapshotClasses shows the host's snapshot classes, which the tenant's snapshots name
// as they are. It leaves out parameters. They name Secrets and pools of the host, and only the
// host's driver reads them.
func VolumeSnapshotClasses(Options) syncer.Resource[*unstructured.Unstructured, *unstructured.Unstructured] {
	r := sameNamed(func(host, virtual *unstructured.Unstructured) {
		setFields(virtual, host, "driver", "deletionPolicy")
	}, defaultSnapshotClass)
	r.NewVirtual, r.NewHost = emptySnapshotClass, emptySnapshotClass
	return r
}
