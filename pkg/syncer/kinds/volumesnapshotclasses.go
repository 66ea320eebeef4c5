package kinds

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sublet-dev/sublet/pkg/syncer"
)

// VolumeSnapshotClasses copies the host's snapshot classes, which snapshots refer to by the same names.
// It omits the parameters, which name Secrets and pools of the host.
func VolumeSnapshotClasses(Options) syncer.Resource[*unstructured.Unstructured, *unstructured.Unstructured] {
	r := sameNamed(func(host, virtual *unstructured.Unstructured) {
		setFields(virtual, host, "driver", "deletionPolicy")
	}, defaultSnapshotClass)
	r.NewVirtual, r.NewHost = emptySnapshotClass, emptySnapshotClass
	return r
}
